//go:build !unix

package upstream

import "net"

// goneFunc can't tell here without reading.
func goneFunc(net.Conn) func() bool { return func() bool { return false } }
