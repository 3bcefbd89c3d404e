package api_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/api"
	"slipway.dev/slipway/internal/api/apitest"
	"slipway.dev/slipway/internal/control/access"
)

// personas are the columns of the matrix: how they stand to an app of ada's.
var personas = []string{"anon", "carol", "bob", "vera", "cora", "ada", "ada-reads", "root"}

// may is the matrix: what each persona gets who asks for a verb. 0 is yes.
var may = map[access.Verb][8]int{
	//                    anon carol bob vera cora ada reads root
	"anyone":             {0, 0, 0, 0, 0, 0, 0, 0},
	"signed-in":          {401, 0, 0, 0, 0, 0, 0, 0},
	access.SeeApp:        {401, 404, 404, 0, 0, 0, 0, 0},
	access.ReadApp:       {401, 404, 404, 403, 0, 0, 0, 0},
	access.MarkApp:       {401, 404, 404, 0, 0, 0, 403, 0},
	access.ReadAudit:     {401, 403, 403, 403, 403, 403, 403, 0},
	access.ReadSettings:  {401, 403, 403, 403, 403, 403, 403, 0},
	access.WriteSettings: {401, 403, 403, 403, 403, 403, 403, 0},
	access.DeployApp:     {401, 404, 404, 403, 0, 0, 403, 403}, // root has no seat
	access.ManageApp:     {401, 404, 404, 403, 0, 0, 403, 0},
	access.OwnApp:        {401, 404, 404, 403, 403, 0, 403, 0},
	access.CreateApp:     {401, 403, 0, 403, 0, 0, 403, 403},
	access.ReadGlobal:    {401, 403, 403, 403, 403, 403, 403, 0},
	access.WriteGlobal:   {401, 403, 403, 403, 403, 403, 403, 0},
	access.ListUsers:     {401, 403, 403, 403, 403, 403, 403, 0},
	access.CreateUser:    {401, 403, 403, 403, 403, 403, 403, 0},
	access.ReadAccount:   {401, 404, 404, 404, 404, 0, 0, 0},
	access.UpdateAccount: {401, 404, 404, 404, 404, 0, 403, 0},
	access.AdminAccount:  {401, 404, 404, 404, 404, 403, 403, 0},
	// One's own tokens and sessions: everybody has some.
	"own.read":  {401, 0, 0, 0, 0, 0, 0, 0},
	"own.write": {401, 0, 0, 0, 0, 0, 403, 0},
}

// request is a row: a request that works for whoever may make it. In the path
// {app} is an app of ada's and {deploy} a deploy of it.
type request struct {
	op     string
	verb   access.Verb
	method string
	path   string
	body   string // JSON, or "tar"
	but    int    // what those who may get instead of a success
}

var requests = []request{
	{"login", "anyone", "POST", "/v1/login", `{"username":"bob","password":"bob-has-a-long-password"}`, 0},
	{"whoami", "signed-in", "GET", "/v1/whoami", "", 0},
	{"status", "signed-in", "GET", "/v1/status", "", 0},
	{"list-tokens", "own.read", "GET", "/v1/tokens", "", 0},
	{"create-token", "own.write", "POST", "/v1/tokens", `{"name":"t","scopes":["read"]}`, 0},
	{"revoke-token", "own.write", "DELETE", "/v1/tokens/tok_none", "", 404},
	{"list-ssh-keys", "own.read", "GET", "/v1/ssh-keys", "", 0},
	{"add-ssh-key", "own.write", "POST", "/v1/ssh-keys", `{"key":"ssh-dss AAAA"}`, 422},
	{"remove-ssh-key", "own.write", "DELETE", "/v1/ssh-keys/sshkey_none", "", 404},
	{"list-sessions", "own.read", "GET", "/v1/sessions", "", 0},
	{"end-session", "own.write", "DELETE", "/v1/sessions/ses_none", "", 404},
	{"list-users", access.ListUsers, "GET", "/v1/users", "", 0},
	{"create-user", access.CreateUser, "POST", "/v1/users", `{"name":"new","password":"some-long-password"}`, 0},
	{"get-user", access.ReadAccount, "GET", "/v1/users/ada", "", 0},
	{"update-user", access.UpdateAccount, "PATCH", "/v1/users/ada", `{"full_name":"Ada L"}`, 0},
	{"update-user", access.AdminAccount, "PATCH", "/v1/users/ada", `{"roles":["licensed_user"]}`, 0},
	{"set-password", access.UpdateAccount, "PUT", "/v1/users/ada/password", `{"password":"short"}`, 422},
	{"list-apps", "signed-in", "GET", "/v1/apps", "", 0},
	{"create-app", access.CreateApp, "POST", "/v1/apps", `{"name":"{new}"}`, 0},
	{"get-app", access.SeeApp, "GET", "/v1/apps/{app}", "", 0},
	{"update-app", access.ManageApp, "PATCH", "/v1/apps/{app}", `{"title":"T"}`, 0},
	{"delete-app", access.OwnApp, "DELETE", "/v1/apps/{app}?confirm={app}", "", 0},
	{"transfer-app", access.OwnApp, "POST", "/v1/apps/{app}/transfer", `{"to":"bob"}`, 0},
	{"get-app-usage", access.ReadApp, "GET", "/v1/apps/{app}/usage", "", 0},
	{"list-grants", access.ReadApp, "GET", "/v1/apps/{app}/grants", "", 0},
	{"share-app", access.ManageApp, "PUT", "/v1/apps/{app}/grants/carol", `{"role":"viewer"}`, 0},
	{"unshare-app", access.ManageApp, "DELETE", "/v1/apps/{app}/grants/vera", "", 0},
	{"list-env", access.ReadApp, "GET", "/v1/apps/{app}/env", "", 0},
	{"patch-env", access.ManageApp, "PATCH", "/v1/apps/{app}/env", `{"set":[{"key":"A","value":"1"}]}`, 0},
	{"list-global-env", access.ReadGlobal, "GET", "/v1/env", "", 0},
	{"patch-global-env", access.WriteGlobal, "PATCH", "/v1/env", `{"set":[{"key":"A","value":"1"}]}`, 0},
	{"list-deploys", access.ReadApp, "GET", "/v1/apps/{app}/deploys", "", 0},
	{"deploy", access.DeployApp, "POST", "/v1/apps/{app}/deploys", "tar", 0},
	{"list-templates", "signed-in", "GET", "/v1/templates", "", 0},
	{"deploy-template", access.DeployApp, "POST", "/v1/apps/{app}/deploys/template", `{"template":"dash"}`, 0},
	{"set-upstream", access.DeployApp, "PUT", "/v1/apps/{app}/upstream", `{"url":"https://git.example.com/a"}`, 0},
	{"remove-upstream", access.DeployApp, "DELETE", "/v1/apps/{app}/upstream", "", 0},
	{"deploy-upstream", access.DeployApp, "POST", "/v1/apps/{app}/deploys/upstream", `{}`, 409},
	{"get-deploy", access.ReadApp, "GET", "/v1/deploys/{deploy}", "", 0},
	{"cancel-deploy", access.DeployApp, "POST", "/v1/deploys/{deploy}/cancel", "", 409},
	{"follow-deploy", access.ReadApp, "GET", "/v1/deploys/{deploy}/events", "", 0},
	{"list-releases", access.ReadApp, "GET", "/v1/apps/{app}/releases", "", 0},
	{"rollback", access.DeployApp, "POST", "/v1/apps/{app}/rollback", `{"release":1}`, 409},
	{"list-processes", access.ReadApp, "GET", "/v1/apps/{app}/processes", "", 0},
	{"scale", access.ManageApp, "PATCH", "/v1/apps/{app}/processes/web", `{"replicas":1}`, 0},
	{"pause-app", access.ManageApp, "POST", "/v1/apps/{app}/pause", "", 0},
	{"resume-app", access.ManageApp, "POST", "/v1/apps/{app}/resume", "", 0},
	{"restart-app", access.DeployApp, "POST", "/v1/apps/{app}/restart", "", 0},
	{"get-logs", access.ReadApp, "GET", "/v1/apps/{app}/logs", "", 0},
	{"follow-logs", access.ReadApp, "GET", "/v1/apps/{app}/logs/stream", "", 0},
}

// Rows of files in ~/mount; what changes them is asked of an app of which nothing runs.
var fileRequests = []request{
	{"list-files", access.ReadApp, "GET", "/v1/apps/{app}/files", "", 0},
	{"get-file", access.ReadApp, "GET", "/v1/apps/{app}/files/content?path=none", "", 404},
	{"put-file", access.ManageApp, "PUT", "/v1/apps/{app}/files/content?path=a", `{}`, 409},
	{"create-folder", access.ManageApp, "POST", "/v1/apps/{app}/files/folders", `{"path":"a"}`, 409},
	{"delete-file", access.ManageApp, "DELETE", "/v1/apps/{app}/files?path=a", "", 409},
}

// Rows of what pages ask for.
var pageRequests = []request{
	{"get-portal", "signed-in", "GET", "/v1/portal", "", 0},
	{"star-app", access.MarkApp, "PUT", "/v1/portal/favourites/{app}", "", 0},
	{"unstar-app", access.MarkApp, "DELETE", "/v1/portal/favourites/{app}", "", 0},
	{"get-thumbnail", access.SeeApp, "GET", "/v1/apps/{app}/thumbnail", "", 404},
	{"set-thumbnail", access.ManageApp, "PUT", "/v1/apps/{app}/thumbnail", "picture", 0},
	{"delete-thumbnail", access.ManageApp, "DELETE", "/v1/apps/{app}/thumbnail", "", 0},
	{"get-access", access.ReadApp, "GET", "/v1/apps/{app}/access", "", 0},
	{"explain-access", access.ReadApp, "GET", "/v1/apps/{app}/access/explain?user=bob", "", 0},
	{"find-people", access.ManageApp, "GET", "/v1/apps/{app}/people?q=b", "", 0},
	{"get-metrics", access.ReadApp, "GET", "/v1/apps/{app}/metrics", "", 0},
	{"get-usage", access.ReadSettings, "GET", "/v1/usage", "", 0},
	{"redeploy", access.DeployApp, "POST", "/v1/deploys/{deploy}/redeploy", "", 0},
	{"get-deploy-log", access.ReadApp, "GET", "/v1/deploys/{deploy}/log", "", 0},
	{"compare-releases", access.ReadApp, "GET", "/v1/apps/{app}/releases/1/compare", "", 409},
	{"get-me", "signed-in", "GET", "/v1/me", "", 0},
	{"get-branding", "anyone", "GET", "/v1/branding", "", 0},
	{"update-branding", access.WriteSettings, "PATCH", "/v1/branding", `{"name":"Our apps"}`, 0},
	{"get-logo", "anyone", "GET", "/v1/branding/logo", "", 404},
	{"set-logo", access.WriteSettings, "PUT", "/v1/branding/logo", "picture", 0},
	{"delete-logo", access.WriteSettings, "DELETE", "/v1/branding/logo", "", 0},
	{"list-announcements", access.ReadSettings, "GET", "/v1/announcements", "", 0},
	{"create-announcement", access.WriteSettings, "POST", "/v1/announcements", `{"text":"Down at noon"}`, 0},
	{"delete-announcement", access.WriteSettings, "DELETE", "/v1/announcements/ann_none", "", 404},
	{"get-defaults", access.ReadSettings, "GET", "/v1/defaults", "", 0},
	{"update-defaults", access.WriteSettings, "PATCH", "/v1/defaults", `{"allow_unauthenticated":true}`, 0},
	{"get-limits", access.ReadSettings, "GET", "/v1/limits", "", 0},
	{"update-limits", access.WriteSettings, "PATCH", "/v1/limits", `{"seats":100}`, 0},
	{"get-health", access.ReadSettings, "GET", "/v1/health", "", 0},
	{"list-audit", access.ReadAudit, "GET", "/v1/audit", "", 0},
	{"export-audit", access.ReadAudit, "GET", "/v1/audit/export", "", 0},
	{"follow-changes", "signed-in", "GET", "/v1/events", "", 0},
}

// released are the rows that need an app with a release.
var released = []string{"cancel-deploy", "rollback", "scale", "restart-app", "redeploy"}

// Every route of the API is in the table, and each persona gets from it what
// the matrix says: a route without a row fails.
func TestPersonas(t *testing.T) {
	t.Parallel()
	routes := documented(t)
	r := apitest.New(t)
	if status, p := send(t, r, "root", "PATCH", "/v1/limits", `{"replicas":1000}`); status != http.StatusOK { // a release for each who asks
		t.Fatal(p.Detail)
	}
	asked := map[string]bool{}
	shop, dep := shared(t, r, "shop", true)
	for i, row := range slices.Concat(requests, fileRequests, pageRequests) {
		asked[row.op] = true
		if routes[row.op] == "" {
			t.Errorf("%s is not a route of the API", row.op)
			continue
		}
		answers, there := may[row.verb]
		if !there {
			t.Errorf("%s: no row of the matrix for %s", row.op, row.verb)
			continue
		}
		for j, name := range personas {
			app, deploy := shop, dep
			if row.method != http.MethodGet && strings.Contains(row.path, "{") { // it may leave traces
				app, deploy = shared(t, r, fmt.Sprintf("app-%d-%d", i, j), slices.Contains(released, row.op))
			}
			fill := strings.NewReplacer("{app}", app, "{deploy}", deploy, "{new}", fmt.Sprintf("new-%d", j))
			status, p := send(t, r, name, row.method, fill.Replace(row.path), fill.Replace(row.body))
			want := answers[j]
			switch {
			case want != 0 && status != want, want == 0 && row.but != 0 && status != row.but, want == 0 && row.but == 0 && status >= 300:
				t.Errorf("%s %s as %s: %d %q, want %d (0 = yes, then %d)", row.op, row.verb, name, status, p.Detail, want, row.but)
			}
		}
	}
	for op := range routes {
		if !asked[op] {
			t.Errorf("the route %s has no row in the persona matrix", op)
		}
	}
}

// documented are the operations in the OpenAPI document, with what they ask.
func documented(t *testing.T) map[string]string {
	t.Helper()
	text, err := api.Spec()
	ok(t, err)
	var doc struct {
		Paths map[string]map[string]struct {
			ID     string `json:"operationId"`
			Access string `json:"x-slipway-access"`
			Later  bool   `json:"x-slipway-planned"`
		}
	}
	ok(t, json.Unmarshal(text, &doc))
	out := map[string]string{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			if op.Access == "" {
				t.Errorf("%s %s does not say what it asks of the caller", method, path)
			}
			if !op.Later { // it answers that it is not there
				out[op.ID] = op.Access
			}
		}
	}
	return out
}

// archive is an app that anybody could deploy.
func archive(t *testing.T) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for name, text := range map[string]string{"Procfile": "web: python -m http.server $PORT\n", "app.py": "print('hello')\n"} {
		ok(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}))
		_, err := w.Write([]byte(text))
		ok(t, err)
	}
	ok(t, w.Close())
	return buf.Bytes()
}

// shared makes an app of ada's with cora as co-owner and vera as viewer, and
// with a release when it is to be live.
func shared(t *testing.T, r *apitest.Rig, name string, live bool) (app, deploy string) {
	t.Helper()
	ada := r.Client(t, "ada")
	_, err := ada.CreateApp(t.Context(), client.CreateApp{Name: name}, "")
	ok(t, err)
	ok(t, ada.Share(t.Context(), name, "cora", slipway.GrantCoOwner))
	ok(t, ada.Share(t.Context(), name, "vera", slipway.GrantViewer))
	if !live {
		return name, ""
	}
	d, err := ada.Deploy(t.Context(), name, client.Upload{Tar: bytes.NewReader(archive(t))})
	ok(t, err)
	end, err := ada.FollowDeploy(t.Context(), d.ID, func(client.DeployEvent) error { return nil })
	ok(t, err)
	if end.State != slipway.DeployLive {
		t.Fatalf("the deploy is %s: %s", end.State, end.Reason)
	}
	return name, string(d.ID)
}

// drawn is a PNG.
func drawn(t *testing.T, width, height int) []byte {
	t.Helper()
	var buf bytes.Buffer
	ok(t, png.Encode(&buf, image.NewGray(image.Rect(0, 0, width, height))))
	return buf.Bytes()
}

// send returns the status; of a stream only its head is read.
func send(t *testing.T, r *apitest.Rig, name, method, path, body string) (int, client.Problem) {
	t.Helper()
	contentType := "application/json"
	switch body {
	case "tar":
		body, contentType = string(archive(t)), "application/x-tar"
	case "picture":
		body, contentType = string(drawn(t, 8, 8)), "image/png"
	}
	req, err := http.NewRequestWithContext(t.Context(), method, r.URL+path, strings.NewReader(body))
	ok(t, err)
	req.Header.Set("Content-Type", contentType)
	if token := r.Token(name); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	ok(t, err)
	defer res.Body.Close()
	var p client.Problem
	if res.StatusCode >= 300 {
		_ = json.NewDecoder(res.Body).Decode(&p)
	}
	return res.StatusCode, p
}
