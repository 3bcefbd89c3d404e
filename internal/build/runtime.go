package build

import (
	"strconv"

	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/engine"
)

// Facts are what RuntimeEnv must know of an app and of the platform.
type Facts struct {
	App         string // name
	Process     string // web, worker …
	Port        int
	Base        string // host name without scheme
	LogoutURL   string
	JWKSURL     string
	UserInfoURL string
	Secret      secret.String // the app's own, random
	DashPrefix  bool          // Plan.DashPrefix
}

// RuntimeEnv returns the variables that apps written for Dash Enterprise, and
// frameworks, look for. The app's own variables come after these and win.
//
// Streamlit and Bokeh get no prefix: the gateway strips /<app> on the way in,
// and with a prefix both answer below it only. SCRIPT_NAME is not set either:
// Dash refuses to start with it beside DASH_APP_NAME.
func RuntimeEnv(f Facts) []engine.Var {
	port, prefix := strconv.Itoa(f.Port), "/"+f.App
	vars := plain(
		"PORT", port,
		"HOST", "0.0.0.0",
		"DASH_APP_NAME", f.App,
		"DASH_DOMAIN_BASE", f.Base,
		"DASH_ENTERPRISE_ENV", "PRODUCTION",
		"DASH_LOGOUT_URL", f.LogoutURL,
		"DASH_JWKS_URL", f.JWKSURL, // its presence puts the auth library into the mode of Dash Enterprise 5
		"DASH_USER_INFO_URL", f.UserInfoURL,
		"DASH_AUD", "dash",
		// Dash Enterprise 4
		"DASH_PATH_ROUTING", "1",
		"DYNO", f.Process+".1",
		// Only the gateway can reach the port, and it drops the client's copies.
		"FORWARDED_ALLOW_IPS", "*",
		"UVICORN_HOST", "0.0.0.0",
		"UVICORN_PORT", port,
		"UVICORN_ROOT_PATH", prefix,
		"FLASK_RUN_HOST", "0.0.0.0",
		"FLASK_RUN_PORT", port,
		"STREAMLIT_SERVER_PORT", port,
		"STREAMLIT_SERVER_ADDRESS", "0.0.0.0",
		"STREAMLIT_SERVER_HEADLESS", "true",
		"STREAMLIT_SERVER_FILE_WATCHER_TYPE", "none",
		"STREAMLIT_BROWSER_GATHER_USAGE_STATS", "false",
		"GRADIO_SERVER_NAME", "0.0.0.0",
		"GRADIO_SERVER_PORT", port,
		"GRADIO_ROOT_PATH", prefix,
		"GRADIO_ANALYTICS_ENABLED", "False",
		"BOKEH_ALLOW_WS_ORIGIN", "*", // without it the page opens and its WebSocket is refused
		"PYTHONUNBUFFERED", "1",
	)
	vars = append(vars, engine.Var{Name: "DASH_SECRET_KEY", Value: f.Secret})
	if f.DashPrefix {
		vars = append(vars, plain("DASH_REQUESTS_PATHNAME_PREFIX", prefix+"/")...)
	}
	return vars
}
