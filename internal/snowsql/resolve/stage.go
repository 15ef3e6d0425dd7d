package resolve

import (
	"slices"
	"strings"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/token"
	"querywarden/policy"
)

// Files of a stage are rows that have left their table. What is unloaded leaves
// masked, since the masks stand inside of the query that it comes from; a table
// is unloaded as the query that reads all of it. What lies in a stage can be
// masked no more: who would see masks on what somebody else unloaded there
// reads none of it, and a table that is filled from it inherits.
//
// A stage is reached by its name alone. The files of a user and of a table have
// no object that a rule could name, and an address in quotes leaves the account
// by a way that nobody has looked at.
// docs.snowflake.com/en/sql-reference/sql/copy-into-location, …/copy-into-table, …/list, …/remove

// StageColumn stands for all that is in the files of a stage. It is no star, so
// that notes on a stage and on a table of the same name are kept apart.
const StageColumn = "@"

// copyOptions are the words in the options of COPY INTO that say how files are
// written and read. What names credentials, keys, formats and integrations is
// not among them, nor VALIDATION_MODE, which answers with lines of the files.
var copyOptions = words(`FILE_FORMAT TYPE CSV JSON PARQUET AVRO ORC XML COMPRESSION AUTO GZIP BZ2 BROTLI ZSTD DEFLATE RAW_DEFLATE LZO SNAPPY NONE
	RECORD_DELIMITER FIELD_DELIMITER FILE_EXTENSION ESCAPE ESCAPE_UNENCLOSED_FIELD DATE_FORMAT TIME_FORMAT TIMESTAMP_FORMAT BINARY_FORMAT HEX
	BASE64 UTF8 FIELD_OPTIONALLY_ENCLOSED_BY NULL_IF EMPTY_FIELD_AS_NULL SNAPPY_COMPRESSION SKIP_HEADER PARSE_HEADER SKIP_BLANK_LINES
	MULTI_LINE TRIM_SPACE ERROR_ON_COLUMN_COUNT_MISMATCH REPLACE_INVALID_CHARACTERS SKIP_BYTE_ORDER_MARK ENCODING ENABLE_OCTAL ALLOW_DUPLICATE
	STRIP_OUTER_ARRAY STRIP_OUTER_ELEMENT STRIP_NULL_VALUES IGNORE_UTF8_ERRORS PRESERVE_SPACE DISABLE_AUTO_CONVERT BINARY_AS_TEXT
	USE_LOGICAL_TYPE USE_VECTORIZED_SCANNER TRUE FALSE OVERWRITE SINGLE HEADER MAX_FILE_SIZE INCLUDE_QUERY_ID DETAILED_OUTPUT PARTITION BY FILES
	PATTERN ON_ERROR CONTINUE SKIP_FILE ABORT_STATEMENT SIZE_LIMIT PURGE RETURN_FAILED_ONLY MATCH_BY_COLUMN_NAME CASE_SENSITIVE
	CASE_INSENSITIVE ENFORCE_LENGTH TRUNCATECOLUMNS FORCE LOAD_UNCERTAIN_FILES`)

// listOptions are those of LIST and REMOVE.
var listOptions = words(`PATTERN`)

func words(list string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(list) {
		m[w] = true
	}
	return m
}

// copy resolves COPY INTO.
func (r *resolver) copy(s *ast.Copy) {
	switch {
	case s.Files:
		r.unsupported("COPY FILES", "Unload from a table again.")
	case s.Table != nil:
		r.load(s)
	default:
		r.unload(s)
	}
}

// unload resolves COPY INTO @stage. A table becomes the query for its rows, so
// that masks can stand in it.
func (r *resolver) unload(s *ast.Copy) {
	stage := r.stage(&s.Location)
	if s.From == nil || s.From.Location != "" || s.Columns != nil {
		r.unsupported("this form of COPY INTO a stage", "Write COPY INTO @database.schema.stage/path FROM (SELECT …).")
		return
	}
	if t := s.From.Table; t != nil {
		span := t.Span
		s.From.Query = &ast.Select{
			Span: span, Items: []*ast.SelectItem{{Span: span, Expr: &ast.Star{Span: span}}}, From: []ast.Relation{&ast.Table{Span: span, Name: t}},
		}
		s.From.Table = nil
	}
	yields := r.query(s.From.Query, nil, nil)
	// Files are named after what they are parted by.
	parted := r.options(s.Options, copyOptions, &scope{sources: []*source{{columns: yields}}})
	if stage != nil {
		r.access(policy.Stage, stage.Object)
		if all := union(origins(yields), parted); len(all) > 0 {
			r.out.Written = append(r.out.Written, Written{stage.Object, StageColumn, all})
		}
	}
}

// load resolves COPY INTO table.
func (r *resolver) load(s *ast.Copy) {
	t := r.written(policy.Write, s.Table, s.Columns)
	r.options(s.Options, copyOptions, &scope{})
	var yields []Column
	switch {
	case s.From == nil, s.From.Table != nil:
		r.unsupported("COPY INTO a table from anything but a named stage", "Write COPY INTO table FROM @database.schema.stage/path.")
		return
	case s.From.Query != nil:
		yields = r.query(s.From.Query, nil, nil)
	default:
		if ref := r.staged(&s.From.Location); ref != nil {
			yields = []Column{{Name: StageColumn, Open: true, Origins: []Origin{{ref, StageColumn}}}}
		}
	}
	if t != nil {
		r.writes(t.Object, names(t, s.Columns), yields)
	}
}

// stageCommand resolves LIST and REMOVE. PUT and GET move files of the machine
// that the driver runs on, which is the gateway's.
func (r *resolver) stageCommand(s *ast.StageCommand) {
	switch s.Verb {
	case "LIST", "LS", "REMOVE", "RM":
	default:
		r.unsupported(s.Verb, "Unload with COPY INTO @stage, or ask an administrator to move the file.")
		return
	}
	if s.Rest != nil && len(s.Rest.List) > 0 {
		if at, ok := s.Rest.List[0].Part.(*ast.StageExpr); ok {
			r.options(&ast.Tokens{Span: s.Rest.Span, List: s.Rest.List[1:]}, listOptions, &scope{})
			r.staged(&at.Location)
			return
		}
	}
	r.unsupported(s.Verb+" of anything but a named stage", "Write "+s.Verb+" @database.schema.stage/path.")
}

// stageRelation resolves the files of a stage as a relation: rows of columns
// that are in the files alone.
func (r *resolver) stageRelation(n *ast.StageRel, s *scope) {
	for _, o := range n.Options {
		lit, ok := o.Value.(*ast.Literal)
		if o.Name.Fold() != "PATTERN" || !ok || lit.Kind != ast.StringLiteral {
			r.unsupported("queries over staged files with options but PATTERN", "Load the files with COPY INTO a table, which takes FILE_FORMAT.")
		}
	}
	src := aliased(n.Alias, []Column{{Name: "*", Open: true}})
	if ref := r.staged(&n.Location); ref != nil {
		src.columns[0].Origins = []Origin{{ref, StageColumn}}
	}
	s.add(src)
}

// staged notes that a statement takes what lies in a stage, as it lies there.
func (r *resolver) staged(location *string) *Ref {
	t := r.stage(location)
	if t == nil {
		return nil
	}
	return r.raw(t)
}

// stage finds the stage that a location means and makes its name full.
func (r *resolver) stage(location *string) *policy.Table {
	parts, path, ok := stageName(*location)
	if !ok {
		r.unsupported("statements over files outside of named stages", "Write @database.schema.stage/path.")
		return nil
	}
	n := &ast.ObjectName{Parts: parts}
	full, ok := r.fullName(n)
	if !ok {
		return nil
	}
	printed, err := ast.Print(n, ast.Snowflake)
	if err != nil {
		r.unsupported("this name of a stage", "Write @database.schema.stage/path.")
		return nil
	}
	*location = "@" + printed + path
	if t := r.catalog.Stage(full.database, full.schema, full.object); t != nil {
		return t
	}
	// The catalog knows the stages that something was unloaded to. Which others
	// there are is for policy, by name, and for the warehouse.
	return &policy.Table{
		Object:  policy.Object{Kind: policy.StageObject, Database: full.database, Schema: full.schema, Name: full.object},
		Columns: []policy.Column{{Name: StageColumn, Type: "VARIANT"}},
	}
}

// stageName takes a location apart: the stage's name, and the path in it with
// its slash. A path of dots could mean another folder than it seems to.
func stageName(location string) (parts []*ast.Ident, path string, ok bool) {
	rest, ok := strings.CutPrefix(location, "@")
	if !ok {
		return nil, "", false
	}
	scan := token.NewScanner(rest)
	for {
		t := scan.Next()
		text := t.Text(rest)
		switch t.Kind {
		case token.Ident:
			parts = append(parts, ast.NewIdent(strings.ToUpper(text)))
		case token.QuotedIdent:
			parts = append(parts, ast.NewIdent(strings.ReplaceAll(text[1:len(text)-1], `""`, `"`)))
		default:
			return nil, "", false
		}
		behind := rest[t.End:]
		switch {
		case behind == "" || behind[0] == '/':
			dots := func(s string) bool { return s == "." || s == ".." }
			return parts, behind, len(parts) <= 3 && !slices.ContainsFunc(strings.Split(behind, "/"), dots)
		case behind[0] == '.':
			scan.Seek(t.End + 1)
		default:
			return nil, "", false
		}
	}
}

// options resolves the options of a statement over files: every word has to be
// known, and what is computed is resolved.
func (r *resolver) options(n *ast.Tokens, known map[string]bool, s *scope) (computed []Origin) {
	if n == nil {
		return nil
	}
	refuse := func(what string) {
		r.unsupported("COPY, LIST and REMOVE with "+what, "Say with FILE_FORMAT = (TYPE = …) and its options how the files are to be read or written.")
	}
	for _, l := range n.List {
		switch x := l.Part.(type) {
		case nil:
			if l.Kind == token.Ident && !known[l.Text] || l.Kind == token.QuotedIdent {
				refuse(l.Text)
				return computed
			}
		case ast.Expr:
			computed = union(computed, r.expr(x, s, nil))
		default:
			refuse("options that name other objects")
			return computed
		}
	}
	return computed
}
