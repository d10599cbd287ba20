//go:build programs

// Package programs names the two programs that deploy/stack/build_influxdb.py builds, so that go.mod and go.sum hold
// what they need. The build tag is never set: nothing here is compiled.
package programs

import (
	_ "github.com/influxdata/influxdb/v2/cmd/influxd"
	_ "github.com/influxdata/pkg-config"
)
