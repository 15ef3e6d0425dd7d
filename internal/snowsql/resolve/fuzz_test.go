package resolve_test

import (
	"fmt"
	"strings"
	"testing"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
	"querywarden/internal/snowsql/resolve"
	"querywarden/internal/snowsql/token"
)

// judgement is all that policy is told of a text: class, command, accesses,
// functions, effects, problems. ok is false if the text is not read.
func judgement(src string) (text string, ok bool) {
	stmt, err := parser.ParseStatement(src)
	if err != nil {
		return err.Error(), false
	}
	effects := resolve.EffectsOf(stmt)
	s := resolve.Resolve(stmt, shop, resolve.Context{Database: "DB", Schema: "S"}).Statement
	return fmt.Sprintf("%s %s (%d): %s", s.Class, s.Command, effects, facts(s)), true
}

// rewrite spells a text again: its unquoted words with other letters, and gap
// where anything stood between two tokens.
func rewrite(src string, letter func(rune) rune, gap string) string {
	var b strings.Builder
	at := token.Pos(0)
	s := token.NewScanner(src)
	for t := s.Next(); t.Kind != token.EOF; t = s.Next() {
		if t.Pos > at {
			b.WriteString(gap)
		}
		if t.Kind == token.Ident {
			b.WriteString(strings.Map(letter, t.Text(src)))
		} else {
			b.WriteString(t.Text(src))
		}
		at = t.End
	}
	return b.String()
}

func lower(r rune) rune {
	if r >= 'A' && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

func upper(r rune) rune {
	if r >= 'a' && r <= 'z' {
		return r + 'A' - 'a'
	}
	return r
}

// FuzzJudge: however a statement is spelt, and whether it is read as it was
// written or as it is printed, policy is told the same of it. If it were not,
// somebody could choose what policy sees.
func FuzzJudge(f *testing.F) {
	stmts, _ := classified(f)
	for _, src := range append(stmts,
		"select c.name, o.* from c join o on o.cid = c.id where c.ssn like 'x%' -- comment\n order by 1",
		"with x as (select id, ssn from c) select count(distinct ssn) from x qualify row_number() over (order by id) = 1",
		"select * exclude ssn from c union by name select id, name from v",
		"select f.value:a.b::string, seq4() from c, lateral flatten(input => parse_json(c.name)) f",
		`select "a b", "ID" from "mixed Case" as "Tab" where "Tab".id in (select cid from o)`,
		"insert into o (id, cid) select id, system$wait(1) from c /* drop table c */",
		"merge into c using (select * from o) s on s.cid = c.id when matched then update set name = s.amount",
		"begin let x := (select max(ssn) from c); delete from o where id = :x; return x; end",
		"show tables ->> select * from $1", "select get_ddl('table', 'c'), nobody_knows(1) from identifier('c')",
	) {
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		want, ok := judgement(src)
		if !ok || strings.Contains(strings.ToLower(src), "file://") { // a path: its // is no comment
			return
		}
		for _, other := range []string{
			rewrite(src, upper, " "), rewrite(src, lower, "\n\t"), rewrite(src, upper, " /* ' \" */ "), rewrite(src, lower, " -- drop table c'\n"), rewrite(src, upper, " // $$\n"),
		} {
			if got, _ := judgement(other); got != want {
				t.Errorf("%s\nis %s\n%s\nis %s", src, want, other, got)
			}
		}
		stmt, err := parser.ParseStatement(src)
		if err != nil {
			t.Fatal(err)
		}
		printed, err := ast.Print(stmt, ast.Snowflake)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := judgement(printed); got != want {
			t.Errorf("%s\nis %s\nprinted as %s\nit is %s", src, want, printed, got)
		}
	})
}
