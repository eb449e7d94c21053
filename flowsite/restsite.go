package flowsite

import "strconv"

// restInfo answers GET /api/v1, which needs no token.
func (c *ctx) restInfo(*rest) (restAnswer, error) {
	v := c.opts.Version
	version := strconv.Itoa(v[0]) + "." + strconv.Itoa(v[1]) + "." + strconv.Itoa(v[2])
	return restOK(map[string]any{"data": map[string]any{
		"shotgun_version": "v" + version + " (build stand-in)", "api_version": "1.0", "shotgun_version_number": version,
		"shotgun_build_number": "stand-in", "portfolio_version": nil, "unified_login_flow_enabled": false,
		"authentication_app_session_launcher_enabled": false, "user_authentication_method": "default",
		"site_id": "stand-in", "site_name": "stand-in",
	}}), nil
}
