package flowsite

func socialRoutes() []restRoute  { return nil }
func schemaRoutes() []restRoute  { return nil }
func webhookRoutes() []restRoute { return nil }

type restHooks struct{}

func siteRoutes() []restRoute {
	return []restRoute{
		{verb: get, path: "", word: "info", open: true, run: (*ctx).restInfo},
		{verb: post, path: "auth/access_token", word: "access_token", open: true, query: words("grant_type", "client_id", "client_secret", "username", "password", "auth_token", "session_token", "refresh_token", "scope", "session_uuid"), body: formBody, run: (*ctx).accessToken},
	}
}
