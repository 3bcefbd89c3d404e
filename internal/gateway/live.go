package gateway

import "sync"

// liveSet has the exchanges that may last: sockets, streams, long bodies. They
// were allowed when they began; the watch ends those that no longer are.
type liveSet struct {
	mu  sync.Mutex
	all map[*liveExchange]struct{}
}

type liveExchange struct {
	visitor visitor
	cut     func()
}

func newLiveSet() *liveSet { return &liveSet{all: map[*liveExchange]struct{}{}} }

// add notes an exchange; the caller calls the returned func at its end.
func (l *liveSet) add(v visitor, cut func()) (remove func()) {
	e := &liveExchange{v, cut}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all[e] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.all, e)
	}
}

// cut ends those that keep does not allow.
func (l *liveSet) cut(keep func(visitor) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := range l.all {
		if !keep(e.visitor) {
			e.cut()
		}
	}
}

func (l *liveSet) cutAll() { l.cut(func(visitor) bool { return false }) }

// after runs fn when the exchange has ended.
func (x *exchange) after(fn func()) {
	x.atEnd = append(x.atEnd, fn)
}

func (x *exchange) end() {
	for _, fn := range x.atEnd {
		fn()
	}
}
