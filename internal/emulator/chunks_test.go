//go:build cgo

package emulator

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestChunks asks for a result of several parts, over the driver, and counts.
func TestChunks(t *testing.T) {
	e, db := open(t)
	for _, n := range []int{0, 1, 500, 700, 30_000} {
		rows, err := db.Query(fmt.Sprintf(`SELECT SEQ4() AS n, REPEAT('x"', 200) AS text FROM TABLE(GENERATOR(ROWCOUNT => %d)) ORDER BY n`, n))
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for rows.Next() {
			var i int
			var text string
			if err := rows.Scan(&i, &text); err != nil {
				t.Fatal(err)
			}
			if i != seen || text != strings.Repeat(`x"`, 200) {
				t.Fatalf("row %d of %d is %d, %q", seen, n, i, text)
			}
			seen++
		}
		if err := rows.Err(); err != nil || seen != n {
			t.Errorf("%d rows of %d: %v", seen, n, err)
		}
	}
	chunks := 0
	var base string
	e.mu.Lock()
	for _, q := range e.queries {
		chunks += len(q.chunks)
		base = q.base
	}
	e.mu.Unlock()
	if chunks < 5 {
		t.Errorf("%d chunks", chunks)
	}
	r, err := http.Get(base + "/results/nothing")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusNotFound {
		t.Errorf("a part that there is not: %s", r.Status)
	}
}
