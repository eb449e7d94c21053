package flowsite

// serveUpload answers a form call (flow-protocol §3.2).
func (x *exchange) serveUpload() {
	x.rec.Kind = RouteUpload
	x.violate("uploads aren't served yet")
}
