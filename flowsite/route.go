package flowsite

import (
	"net/http"
	"strings"
)

// The routes that a request can come on: Received.Kind.
const (
	RouteRPC      = "rpc"      // /api3/json, and what is on no route
	RouteUpload   = "upload"   // POST /upload/*
	RouteDownload = "download" // /file_serve, /thumbnail, /images, /files
	RouteLogin    = "login"    // /user/login
	RouteREST     = "rest"     // /api/v1…
	RouteStorage  = "storage"  // the storage server
	RouteWeb      = "web"      // what no proxy may pass on (flow-protocol §6.1)
)

// route sends the request to who answers it, by its path as it stands on the
// wire. What is on no route is judged as an RPC call, so that it is a
// violation.
func (x *exchange) route() {
	path, _, _ := strings.Cut(x.r.RequestURI, "?")
	switch {
	case strings.HasPrefix(path, "/upload/") && x.r.Method == http.MethodPost:
		x.serveUpload()
	case isDownload(path):
		x.serveDownload()
	case path == "/user/login":
		x.serveLogin()
	case path == "/api", strings.HasPrefix(path, "/api/"):
		x.serveREST()
	case isForbidden(path):
		x.serveForbidden(path)
	default:
		x.serveRPC()
	}
}

func isDownload(path string) bool {
	for _, root := range words("/file_serve/", "/thumbnail/", "/images/", "/files/") {
		if strings.HasPrefix(path, root) {
			return true
		}
	}
	return false
}

// isForbidden says whether the path is one that gives out credentials or is
// the web application's own: every call of it is a violation.
func isForbidden(path string) bool {
	return path == "/api3/sgtk_install_script" || strings.HasPrefix(path, "/api3/track_metrics") ||
		strings.HasPrefix(path, "/internal_api/")
}

func (x *exchange) serveForbidden(path string) {
	x.rec.Kind, x.rec.Method = RouteWeb, strings.Trim(path, "/")
	x.violate("a web route that is never to be called: " + x.r.RequestURI)
}
