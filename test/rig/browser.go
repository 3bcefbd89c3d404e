package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// Page is a tab of a headless Chromium with an empty profile. It accepts the
// local CA, because the profile knows no root.
type Page struct {
	ctx   context.Context //nolint:containedctx // it is the tab
	close func()
}

// Browse starts a browser; Close ends it.
func Browse(ctx context.Context) (*Page, error) {
	path, err := exec.LookPath("chromium-headless-shell")
	if err != nil {
		path, err = exec.LookPath("chromium")
	}
	if err != nil {
		return nil, fmt.Errorf("no chromium: apt-get install chromium (%w)", err)
	}
	profile, err := os.MkdirTemp("", "slipway-browser-")
	if err != nil {
		return nil, err
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("ignore-certificate-errors", true), chromedp.WindowSize(1200, 900),
	)
	ctx, cancelAlloc := chromedp.NewExecAllocator(ctx, opts...)
	tab, cancelTab := chromedp.NewContext(ctx)
	p := &Page{ctx: tab, close: func() {
		cancelTab()
		cancelAlloc()
		_ = os.RemoveAll(profile)
	}}
	if err := p.Goto("about:blank"); err != nil {
		p.Close()
		return nil, fmt.Errorf("start chromium: %w", err)
	}
	return p, nil
}

// Close ends the browser.
func (p *Page) Close() { p.close() }

// Goto opens an address and waits for its load event.
func (p *Page) Goto(url string) error { return chromedp.Do(p.ctx, chromedp.Navigate(url)) }

// Before runs a script in each page that is opened from now on, before the page's own.
func (p *Page) Before(script string) error {
	return chromedp.Do(p.ctx, chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
		return err
	}))
}

// Number returns what a JavaScript expression is.
func (p *Page) Number(expression string) (float64, error) {
	return chromedp.Run(p.ctx, chromedp.Evaluate[float64](expression))
}

// Evaluate returns the string that a JavaScript expression promises.
func (p *Page) Evaluate(expression string) (string, error) {
	return chromedp.Run(p.ctx, chromedp.Evaluate[string](expression, chromedp.EvalAwaitPromise))
}

// URL returns where the page is now.
func (p *Page) URL() (string, error) { return chromedp.Run(p.ctx, chromedp.Location()) }

// Fill sets the value of a field, by CSS selector, as typing would.
func (p *Page) Fill(css, value string) error {
	if err := p.See(css, ""); err != nil {
		return err
	}
	return chromedp.Do(p.ctx, chromedp.Click(chromedp.CSS(css)), chromedp.SendKeys(chromedp.CSS(css), value))
}

// Click clicks what the CSS selector finds first, once it is visible.
func (p *Page) Click(css string) error {
	if err := p.See(css, ""); err != nil {
		return err
	}
	return chromedp.Do(p.ctx, chromedp.Click(chromedp.CSS(css)))
}

// ClickText clicks the innermost visible element whose whole text is text.
func (p *Page) ClickText(text string) error {
	return p.Until("an element with the text "+text, fmt.Sprintf(`(() => {
		const all = [...document.querySelectorAll('body *')].filter(e => e instanceof HTMLElement && e.textContent.trim() === %s && e.offsetParent !== null);
		const e = all.at(-1);
		if (!e) return false;
		for (const type of ['pointerdown', 'mousedown', 'pointerup', 'mouseup', 'click'])
			e.dispatchEvent(new MouseEvent(type, {bubbles: true, cancelable: true, view: window, button: 0}));
		return true;
	})()`, quote(text)))
}

// See waits until an element that the CSS selector finds is visible and its
// text (or value) holds text.
func (p *Page) See(css, text string) error {
	return p.Until(fmt.Sprintf("%s with %q", css, text), fmt.Sprintf(
		`[...document.querySelectorAll(%s)].some(e => e.getClientRects().length > 0 && ((e.innerText || '') + (e.value || '') + e.textContent).includes(%s))`,
		quote(css), quote(text)))
}

// Until waits, for at most 30 s, until the JavaScript expression is true.
func (p *Page) Until(what, expression string) error {
	err := Until(p.ctx, 30*time.Second, func() error {
		ok, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool](expression))
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("the page does not show %s", what)
		}
		return nil
	})
	if err != nil {
		url, _ := p.URL()
		text, _ := p.Text("body")
		return fmt.Errorf("%w; at %s it shows:\n%.2000s", err, url, text)
	}
	return nil
}

// Text returns the text of what the CSS selector finds first.
func (p *Page) Text(css string) (string, error) {
	s, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](fmt.Sprintf(`document.querySelector(%s)?.innerText ?? ''`, quote(css))))
	return strings.TrimSpace(s), err
}

// Screenshot writes the visible page as PNG.
func (p *Page) Screenshot(file string) error {
	png, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		return err
	}
	return os.WriteFile(file, png, 0o644)
}

// SignIn fills in the sign-in page that is shown.
func (p *Page) SignIn(user, password string) error {
	if err := p.Fill("input[name=username]", user); err != nil {
		return err
	}
	if err := p.Fill("input[name=password]", password); err != nil {
		return err
	}
	return p.Click("form button[type=submit]")
}

func quote(s string) string {
	b, _ := json.Marshal(s) // a string always encodes
	return string(b)
}
