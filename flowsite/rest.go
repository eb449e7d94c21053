package flowsite

// serveREST answers a call of the REST API (flow-protocol §5).
func (x *exchange) serveREST() {
	x.rec.Kind = RouteREST
	x.violate("REST isn't served yet")
}
