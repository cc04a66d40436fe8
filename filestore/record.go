package filestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// format is the version of the file and of the records in it. A program that
// knows format n reads n-1 as well, see decoders, and writes n.
const format = 1

// maxSealed is the most that a record may hold sealed.
const maxSealed = 64 << 10

// stored is a record as it is in the file.
type stored struct {
	kiboauth.Record
	// filed is the moment under which the table of expiries has it: that of
	// its creation or of the last sweep. To touch a record moves nothing there.
	filed int64
}

// decoders read the records of each format that is understood, without version
// and checksum. The result shares no memory with what they read.
var decoders = map[byte]func([]byte) (*stored, error){1: decode1}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errRecord: a record is not what was written.
var errRecord = errors.New("a record is damaged")

// Version 1, numbers big-endian:
//
//	version(1) filed(8) Version(8) Created(8) Seen(8) Ends(8) Idle(8)
//	length(1) Customer Sealed crc(4)
//
// crc is CRC-32C of the key and all that stands before it, so that a record is
// read neither damaged nor under a key that is not its own.
const header1 = 6*8 + 1

// fits says whether a record can be kept.
func fits(r *kiboauth.Record) error {
	if len(r.Customer) > math.MaxUint8 || len(r.Sealed) > maxSealed {
		return fmt.Errorf("a record with %d bytes of customer and %d sealed is too large", len(r.Customer), len(r.Sealed))
	}
	return nil
}

// encode writes a record that fits.
func encode(key *kiboauth.Key, s *stored) []byte {
	b := make([]byte, 0, 1+header1+len(s.Customer)+len(s.Sealed)+4)
	b = append(b, format)
	for _, n := range []uint64{uint64(s.filed), s.Version, uint64(s.Created), uint64(s.Seen), uint64(s.Ends), uint64(s.Idle)} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = append(b, byte(len(s.Customer)))
	b = append(b, s.Customer...)
	b = append(b, s.Sealed...)
	return binary.BigEndian.AppendUint32(b, checksum(key, b))
}

func checksum(key *kiboauth.Key, b []byte) uint32 {
	return crc32.Update(crc32.Checksum(key[:], castagnoli), castagnoli, b)
}

// decode reads a record. The error is errRecord if it is damaged, and another
// one if its format is not known.
func decode(key *kiboauth.Key, b []byte) (*stored, error) {
	if len(b) < 5 {
		return nil, errRecord
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if checksum(key, body) != sum {
		return nil, errRecord
	}
	decoder, ok := decoders[body[0]]
	if !ok {
		return nil, fmt.Errorf("a record has format %d, and this program reads up to %d", body[0], format)
	}
	return decoder(body[1:])
}

func decode1(b []byte) (*stored, error) {
	if len(b) < header1 || len(b) < header1+int(b[header1-1]) {
		return nil, errRecord
	}
	number := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[8*i:])) }
	sealed := header1 + int(b[header1-1])
	return &stored{
		filed: number(0),
		Record: kiboauth.Record{
			Version: uint64(number(1)), Created: number(2), Seen: number(3), Ends: number(4), Idle: number(5),
			Customer: string(b[header1:sealed]),
			Sealed:   append([]byte(nil), b[sealed:]...),
		},
	}, nil
}
