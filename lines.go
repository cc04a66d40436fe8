package kiboauth

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// An option reads the rest of one line. options are the lines of a block.
type (
	option  func(*caddyfile.Dispenser) error
	options map[string]option
)

// errRepeatable marks, while a line is read, that it may come again.
var errRepeatable = errors.New("may be repeated")

// repeated makes an option that may stand on several lines.
func repeated(o option) option {
	return func(d *caddyfile.Dispenser) error {
		if err := o(d); err != nil {
			return err
		}
		return errRepeatable
	}
}

// block reads a block line by line. Unknown and repeated lines are errors.
func block(d *caddyfile.Dispenser, known options) error {
	first := map[string]int{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name, line := d.Val(), d.Line()
		read, ok := known[name]
		switch {
		case !ok && len(known) == 0:
			return d.Errf("no block is expected here, but there is %q", name)
		case !ok:
			names := slices.Sorted(maps.Keys(known))
			return d.Errf("unknown option %q%s; the options here are: %s", name, didYouMean(name, names), strings.Join(names, ", "))
		case first[name] > 0:
			return d.Errf("%s stands here twice, first on line %d; keep one", name, first[name])
		}
		err := read(d)
		switch {
		case errors.Is(err, errRepeatable):
		case err != nil:
			return err
		default:
			first[name] = line
		}
	}
	return nil
}

// args reads exactly as many arguments as there are targets.
func args(d *caddyfile.Dispenser, targets ...*string) error {
	name := d.Val()
	given := d.RemainingArgs()
	if len(given) != len(targets) {
		return d.Errf("%s takes %s, but has %s", name, plural(len(targets), "argument"), plural(len(given), "argument"))
	}
	for i, target := range targets {
		if *target = given[i]; given[i] == "" {
			return d.Errf("%s has an empty argument", name)
		}
	}
	return block(d, options{})
}

// oneOrTwo reads one argument and perhaps a second.
func oneOrTwo(d *caddyfile.Dispenser, first, second *string) error {
	name := d.Val()
	given := d.RemainingArgs()
	switch len(given) {
	case 1:
		*first = given[0]
	case 2:
		*first, *second = given[0], given[1]
	default:
		return d.Errf("%s takes one or two arguments, but has %s", name, plural(len(given), "argument"))
	}
	return block(d, options{})
}

// onlyBlock reads a line that has nothing but a block.
func onlyBlock(d *caddyfile.Dispenser, known options) error {
	name := d.Val()
	if given := d.RemainingArgs(); len(given) > 0 {
		return d.Errf("%s takes no argument, but has %q; its options go into a block behind it", name, given[0])
	}
	return block(d, known)
}

// list reads one argument or more.
func list(d *caddyfile.Dispenser, target *[]string) error {
	name := d.Val()
	if *target = d.RemainingArgs(); len(*target) == 0 {
		return d.Errf("%s takes at least one argument", name)
	}
	return block(d, options{})
}

// flag reads a bare word.
func flag(d *caddyfile.Dispenser, target *bool) error {
	*target = true
	return args(d)
}

func durationArg(d *caddyfile.Dispenser, target *caddy.Duration) error {
	var text string
	name := d.Val()
	if err := args(d, &text); err != nil {
		return err
	}
	t, err := caddy.ParseDuration(text)
	if err != nil || t <= 0 {
		return d.Errf("%s: %q is not a duration above zero, such as 90s, 15m or 24h", name, text)
	}
	*target = caddy.Duration(t)
	return nil
}

func intArg(d *caddyfile.Dispenser, target *int) error {
	var text string
	name := d.Val()
	if err := args(d, &text); err != nil {
		return err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		return d.Errf("%s: %q is not a number above zero", name, text)
	}
	*target = n
	return nil
}

// places remembers where lines stand, for mistakes that show only later.
type places map[string]string

func place(d *caddyfile.Dispenser) string { return d.File() + ":" + strconv.Itoa(d.Line()) }

func (p places) note(line string, d *caddyfile.Dispenser) { p[line] = place(d) }

// of returns the places of some lines, nil if there are none.
func (p places) of(lines ...string) map[string]string {
	var some map[string]string
	for _, line := range lines {
		if at, ok := p[line]; ok {
			if some == nil {
				some = map[string]string{}
			}
			some[line] = at
		}
	}
	return some
}

// find returns where a line stands, or the block around it.
func (p places) find(line string) string {
	for {
		if at, ok := p[line]; ok {
			return at
		}
		dot := strings.LastIndexByte(line, '.')
		if dot < 0 {
			return p["kibo_auth"]
		}
		line = line[:dot]
	}
}

// explain puts file and line in front of a mistake.
func (p places) explain(err error) error {
	if mistake, ok := errors.AsType[*problem](err); ok {
		if at := p.find(mistake.line); at != "" {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	return err
}

func plural(n int, what string) string {
	switch n {
	case 0:
		return "no " + what
	case 1:
		return "one " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// didYouMean names the known word nearest to what was written, if it is near.
func didYouMean(written string, known []string) string {
	best, distance := "", len(written)/2+1
	for _, word := range known {
		if n := editDistance(written, word); n < distance {
			best, distance = word, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// editDistance counts the letters to insert, delete or change (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
