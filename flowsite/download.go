package flowsite

// serveDownload answers with a file (flow-protocol §4).
func (x *exchange) serveDownload() {
	x.rec.Kind = RouteDownload
	x.violate("downloads aren't served yet")
}

// serveLogin is the login page.
func (x *exchange) serveLogin() {
	x.rec.Kind = RouteLogin
	x.violate("the login page isn't served yet")
}
