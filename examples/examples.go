// Package examples holds configurations that run as they are: the demo writes
// them, and tests hold them to it.
package examples

import _ "embed"

// Policy is the retail shop's policy file, commented for whoever reads it
// first.
//
//go:embed retail/policy.yaml
var Policy []byte

// Config is the configuration beside it.
//
//go:embed retail/querywarden.yaml
var Config []byte
