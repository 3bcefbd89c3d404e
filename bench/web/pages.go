package main

import (
	"encoding/json"
	"fmt"
	"time"

	"slipway.dev/slipway/bench/measure"
)

// watch notes in each page when what the selector finds was first painted, and
// what kept the page from answering for longer than a person bears.
const watch = `
window.bench = {first: 0, long: []};
new PerformanceObserver(l => l.getEntries().forEach(e => bench.long.push(e.duration))).observe({type: 'longtask', buffered: true});
new MutationObserver((_, self) => {
	if (!document.querySelector('[aria-label="Portal"] > li, [aria-label="Apps"] tbody tr')) return;
	self.disconnect();
	requestAnimationFrame(() => setTimeout(() => { bench.first = performance.now(); }));
}).observe(document, {childList: true, subtree: true});
`

// transferred is what the page took over the wire, in bytes.
const transferred = `[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')].reduce((sum, e) => sum + e.transferSize, 0)`

// scroll goes down a page as a hand does, as far as there is more, but at most for so many screens.
const scroll = `(async () => {
	bench.long = [];
	let still = 0;
	const end = 60 * innerHeight;
	while (still < 60 && scrollY < end) {
		const before = scrollY;
		scrollBy(0, 60);
		await new Promise(requestAnimationFrame);
		still = scrollY === before ? still + 1 : 0;
	}
	await new Promise(done => setTimeout(done, 100));
	return JSON.stringify({long: bench.long, far: Math.round(scrollY), shown: document.querySelectorAll('[aria-label="Portal"] > li, [aria-label="Apps"] tbody tr').length});
})()`

// pages measures in a browser: the first visit with an empty cache, later ones
// with what it kept, and scrolling.
func (b *bench) pages() error {
	if err := b.page.Before(watch); err != nil {
		return err
	}
	list := b.in.Hosts.API() + "/apps"
	if err := b.page.Goto(list); err != nil {
		return err
	}
	if err := b.page.SignIn(b.who.Name, b.who.Password); err != nil {
		return err
	}
	if err := b.shown(); err != nil {
		return err
	}
	bytes, err := b.page.Number(transferred)
	if err != nil {
		return err
	}
	verdict("first visit to the App Manager", fmt.Sprintf("%.0f kB", bytes/1000), "≤ 350 kB", bytes <= 350_000)
	for _, p := range []struct{ name, path string }{
		{fmt.Sprintf("Portal, %d apps", b.cards), "/portal"}, {fmt.Sprintf("App Manager, %d apps", b.apps), "/apps"},
	} {
		if err := b.visit(p.name, b.in.Hosts.API()+p.path); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) shown() error {
	return b.page.Until("the first of the list", `window.bench?.first > 0`)
}

// visit opens a page a few times, and scrolls it.
func (b *bench) visit(name, url string) error {
	var first []time.Duration
	for range 5 {
		if err := b.page.Goto(url); err != nil {
			return err
		}
		if err := b.shown(); err != nil {
			return err
		}
		ms, err := b.page.Number(`bench.first`)
		if err != nil {
			return err
		}
		first = append(first, time.Duration(ms*float64(time.Millisecond)))
	}
	d := measure.Median(first)
	verdict(name+": first content", millis(d), "≤ 1 s", d <= time.Second)
	var seen struct {
		Long       []float64
		Far, Shown int
	}
	text, err := b.page.Evaluate(scroll)
	if err == nil {
		err = json.Unmarshal([]byte(text), &seen)
	}
	if err != nil {
		return err
	}
	worst := 0.0
	for _, ms := range seen.Long {
		worst = max(worst, ms)
	}
	value := "none"
	if worst > 0 {
		value = fmt.Sprintf("%d, %.0f ms", len(seen.Long), worst)
	}
	verdict(fmt.Sprintf("%s: long tasks, %d px to %d shown", name, seen.Far, seen.Shown), value, "≤ 50 ms", worst <= 50)
	return nil
}
