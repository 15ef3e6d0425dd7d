package tools

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"querywarden/internal/warehouse"
	"querywarden/policy/mask"
)

var errShape = errors.New("the answer is not of the shape that was judged")

var errRowTooLarge = errors.New("a row is larger than the limit on the answer")

// collect reads rows up to the decision's limits. Detectors look at every text
// that leaves, the names of columns included.
func (g *Gate) collect(rows *warehouse.Rows, j *Judgement, res *result) error {
	// The account knows of columns that the catalog did not, or understands the
	// statement otherwise: nobody has judged what they hold.
	if j.width > 0 && len(rows.Columns()) != j.width {
		return fmt.Errorf("%w: %d columns, not %d", errShape, len(rows.Columns()), j.width)
	}
	scanner, err := g.scanner(j.Decision.Detectors)
	if err != nil {
		return err
	}
	var counts mask.Counts
	look := func(text string) string {
		if scanner == nil {
			return text
		}
		clean, found := scanner.Redact(text)
		counts.Add(found)
		return clean
	}
	masked := map[string]string{}
	for _, m := range j.Masked {
		masked[strings.ToUpper(m.Column)] = m.Mask.String()
	}
	for _, c := range rows.Columns() {
		res.columns = append(res.columns, Column{Name: look(c.Name), Type: c.Type, Masked: masked[strings.ToUpper(c.Name)]})
	}
	// The digest is keyed by the gate's secret: the rows of a small answer
	// could be guessed from a bare one.
	digest := hmac.New(sha256.New, g.config.MaskKey)
	res.rows = NewRows(g.config.Spool)
	var buf []byte
	for rows.Next() {
		if j.Returns && res.rows.Len() >= j.MaxRows {
			res.truncated = true
			break
		}
		buf = appendRow(buf[:0], rows, look)
		if res.bytes+int64(len(buf)) > j.Decision.Limits.Bytes {
			if res.rows.Len() == 0 {
				return errRowTooLarge
			}
			res.truncated = true
			break
		}
		res.bytes += int64(len(buf))
		digest.Write(buf)
		if err := res.rows.Add(buf); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil && !res.truncated {
		return err
	}
	if err := res.rows.Done(); err != nil {
		return err
	}
	if j.Decision.KeepRows {
		if res.kept, err = res.rows.lines(); err != nil {
			return err
		}
	}
	digest.Sum(res.digest[:0])
	res.found = counts.ByName()
	return nil
}

// scanner returns the scanner for a policy's detectors, nil if it lists none.
// A name that no detector has refuses the answer.
func (g *Gate) scanner(names []string) (*mask.Scanner, error) {
	if len(names) == 0 {
		return nil, nil
	}
	key := strings.Join(names, ",")
	if s, ok := g.scanners.Load(key); ok {
		return s.(*mask.Scanner), nil
	}
	s, err := mask.NewScanner(names...)
	if err != nil {
		return nil, err
	}
	g.scanners.Store(key, s)
	return s, nil
}

// exactDigits is how many decimal digits a double holds for sure.
const exactDigits = 15

// appendRow writes the current row as a JSON array.
func appendRow(dst []byte, rows *warehouse.Rows, look func(string) string) []byte {
	columns := rows.Columns()
	dst = append(dst, '[')
	for i, v := range rows.Values() {
		if i > 0 {
			dst = append(dst, ',')
		}
		switch {
		case !v.Valid:
			dst = append(dst, "null"...)
		case columns[i].Kind == warehouse.Boolean:
			dst = append(dst, v.Text...)
		case columns[i].Kind == warehouse.Number && exactNumber(v.Text) && look(v.Text) == v.Text:
			dst = append(dst, v.Text...)
		default:
			dst = appendString(dst, look(v.Text))
		}
	}
	return append(dst, ']')
}

// exactNumber reports whether a decimal survives a reader that makes a double
// of it.
func exactNumber(s string) bool {
	digits := 0
	for i := range len(s) {
		if s[i] >= '0' && s[i] <= '9' {
			digits++
		}
	}
	return digits > 0 && digits <= exactDigits && !strings.HasPrefix(s, ".")
}

func appendString(dst []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		return append(dst, `""`...) // a string cannot fail to encode
	}
	return append(dst, text...)
}
