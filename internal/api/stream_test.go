package api_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/api/apitest"
)

// A stream ends when its reader's right does, however long it was open.
func TestStreamEndsWithTheRight(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		who, kind string
		withdraw  func(r *apitest.Rig) error
	}{
		"no longer a co-owner": {"cora", "not_found", func(r *apitest.Rig) error {
			return r.Client(t, "ada").Unshare(t.Context(), "shop", "cora")
		}},
		"disabled": {"cora", "unauthenticated", func(r *apitest.Rig) error {
			disabled := true
			_, err := r.Client(t, "root").UpdateUser(t.Context(), "cora", client.UpdateUser{Disabled: &disabled})
			return err
		}},
		"token revoked": {"ada-reads", "unauthenticated", func(r *apitest.Rig) error {
			ada := r.Client(t, "ada")
			tokens, err := ada.Tokens(t.Context())
			for _, k := range tokens {
				if k.Name == "looks" {
					return ada.RevokeToken(t.Context(), k.ID)
				}
			}
			return err
		}},
		"app deleted": {"ada", "not_found", func(r *apitest.Rig) error {
			return r.Client(t, "ada").DeleteApp(t.Context(), "shop", "shop")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := apitest.New(t)
			shared(t, r, "shop", true)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL+"/v1/apps/shop/logs/stream", nil)
			ok(t, err)
			req.Header.Set("Authorization", "Bearer "+r.Token(tt.who))
			res, err := http.DefaultClient.Do(req)
			ok(t, err)
			defer res.Body.Close()
			body := bufio.NewReader(res.Body)
			if line, err := body.ReadString('\n'); err != nil || line != ": hello\n" {
				t.Fatalf("the stream begins with %q, %v", line, err)
			}
			ok(t, tt.withdraw(r))
			rest, err := io.ReadAll(body)
			if err != nil || !strings.Contains(string(rest), "event: error\n") || !strings.Contains(string(rest), `"kind":"`+tt.kind+`"`) {
				t.Errorf("the stream ends with %q, %v", rest, err)
			}
		})
	}
}
