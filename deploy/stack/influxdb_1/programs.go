//go:build programs

// Package programs names the program that deploy/stack/build_influxdb_1.py builds, so that go.mod and go.sum hold what
// it needs. The build tag is never set: nothing here is compiled.
package programs

import _ "github.com/influxdata/influxdb/cmd/influxd"
