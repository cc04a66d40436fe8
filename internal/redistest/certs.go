package redistest

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// TLS says what certificate a server has. The zero value: a good one. Servers
// that are given the same TLS have the same certificate.
type TLS struct {
	// Name is the host name or address that the certificate is for. Default:
	// 127.0.0.1.
	Name string
	// Expired has it end an hour ago.
	Expired bool
	// ClientCerts has the server ask for a client certificate.
	ClientCerts bool

	issued *certs
}

// certs are the files of one authority.
type certs struct {
	dir     string
	clients bool
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes an authority, a server's and a client's certificate, once.
func (o *TLS) issue(t testing.TB) *certs {
	t.Helper()
	if o.issued != nil {
		return o.issued
	}
	c := &certs{dir: t.TempDir(), clients: o.ClientCerts}
	o.issued = c
	ca := &x509.Certificate{
		Subject: pkix.Name{CommonName: "redistest authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	signer := c.write(t, "ca", ca, nil)

	server := &x509.Certificate{ // which is a client of other servers
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if o.Expired {
		server.NotAfter = time.Now().Add(-time.Hour)
	}
	name := cmp.Or(o.Name, host)
	if ip := net.ParseIP(name); ip != nil {
		server.IPAddresses = []net.IP{ip}
	} else {
		server.DNSNames = []string{name}
	}
	c.write(t, "server", server, signer)

	c.write(t, "client", &x509.Certificate{
		Subject: pkix.Name{CommonName: "redistest client"}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, signer)
	return c
}

// write signs a certificate, with its own key if signer is nil, and writes it
// and its key to name.pem and name.key.
func (c *certs) write(t testing.TB, name string, cert *x509.Certificate, signer *authority) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert.SerialNumber = big.NewInt(time.Now().UnixNano())
	cert.NotBefore = time.Now().Add(-2 * time.Hour)
	if signer == nil {
		signer = &authority{cert, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, signer.cert, key.Public(), signer.key)
	if err != nil {
		t.Fatalf("signing %s: %v", name, err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, c.file(name+".pem"), "CERTIFICATE", der)
	writePEM(t, c.file(name+".key"), "PRIVATE KEY", pkcs8)
	return &authority{cert, key}
}

func writePEM(t testing.TB, file, kind string, der []byte) {
	t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// file returns the path of a file of these, empty without TLS.
func (c *certs) file(name string) string {
	if c == nil {
		return ""
	}
	return filepath.Join(c.dir, name)
}

// config returns the lines of redis.conf for TLS and no plain text.
func (c *certs) config(port int) []string {
	clients := "no"
	if c.clients {
		clients = "yes"
	}
	return []string{
		"port 0",
		fmt.Sprint("tls-port ", port),
		"tls-cert-file " + strconv.Quote(c.file("server.pem")),
		"tls-key-file " + strconv.Quote(c.file("server.key")),
		"tls-ca-cert-file " + strconv.Quote(c.file("ca.pem")),
		"tls-auth-clients " + clients,
		"tls-replication yes",
		"tls-cluster yes",
	}
}
