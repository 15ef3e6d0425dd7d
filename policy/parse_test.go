package policy

import (
	"os"
	"testing"
)

func TestExample(t *testing.T) {
	text, err := os.ReadFile("../examples/retail/policy.yaml")
	if err != nil {
		t.Skip(err)
	}
	p, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Test() {
		t.Logf("%+v", r)
	}
}
