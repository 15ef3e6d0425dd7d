package console

import (
	"embed"
	"html/template"
	"time"

	"querywarden/approvals"
)

//go:embed pages/*.html
var pageFiles embed.FS

// parsePages reads the templates. Their functions write times and counts; what
// others have written comes escaped, or as spans.
func parsePages(now func() time.Time) (*template.Template, error) {
	return template.New("console").Funcs(template.FuncMap{
		"time": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"hour": func(t time.Time) string { return t.UTC().Format("15:04:05") },
		"day":  func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
		"stamp": func(t time.Time) string {
			return t.UTC().Format(time.RFC3339)
		},
		"ago":     func(t time.Time) string { return ago(t, now()) },
		"past":    func(t time.Time) bool { return !now().Before(t) },
		"plural":  func(n any, what string) string { return plural(whole(n), what) },
		"grouped": func(n any) string { return grouped(whole(n)) },
		"took":    took,
		"length":  length,
		"tone":    stateTone,
		"spans":   func(s string) []span { return spans(s, nil, true) },
		"name":    approvals.Name,
		"escape":  approvals.Escape,
		"inc":     func(n int) int { return n + 1 },
	}).ParseFS(pageFiles, "pages/*.html")
}

// whole reads the kinds of whole numbers that pages count with.
func whole(n any) int64 {
	switch n := n.(type) {
	case int:
		return int64(n)
	case int64:
		return n
	case *int64:
		return *n
	default:
		return -1
	}
}
