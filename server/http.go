package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"holdfast/auth"
	"holdfast/server/gitproto"
)

// HTTPConfig shapes an HTTP listener. Authenticate and Git are needed; a limit of zero means its default.
type HTTPConfig struct {
	// Authenticate says whose token it is. Basic authentication carries a token as the password.
	Authenticate func(token string) (auth.Identity, bool)
	// Git holds one git conversation. An error before anything was written becomes the response: auth.ErrNotFound and
	// auth.ErrDenied ask the anonymous to log in and answer 404 and 403 to others; a repository of another system
	// answers 403 too; a *refused of any other cause
	// answers 503 with its text; whatever else, 500. A panic ends the request only. The context ends when the client
	// goes away, or when the time to drain is over.
	Git func(ctx context.Context, r GitRequest, in io.Reader, out io.Writer) error
	// Healthy answers GET /healthz; nil is always healthy.
	Healthy func(ctx context.Context) error

	// TrustedProxies may say in X-Forwarded-For whom they speak for; the loopback addresses if nil.
	TrustedProxies []netip.Prefix

	MaxConns        int   // connections at once; 1024. More wait
	MaxConnsPerAddr int   // of those, from one address that is no trusted proxy; 128. More are closed
	MaxHeaderBytes  int   // 32 KiB
	MaxFetchBytes   int64 // the body of a request to fetch, compressed or not; 64 MiB
	MaxPushBytes    int64 // the body of a push, compressed or not; 16 GiB. The store has its own limit for a pack
	MaxInflateRatio int64 // a gzip body may grow to a mebibyte or so many times its size; 100

	HeaderTimeout    time.Duration // for a request's header; 30 s
	KeepAliveTimeout time.Duration // of a connection between requests; 2 min
	IdleTimeout      time.Duration // a request without a byte in either direction ends; 10 min
	DrainTime        time.Duration // how long requests may go on after the context ended; 30 s

	FailuresPerMinute int // failed logins from one address before it is told to wait; 30. Valid tokens are never told so

	Log *slog.Logger // slog.Default()
}

func (c HTTPConfig) withDefaults() HTTPConfig {
	c.MaxConns = cmp.Or(c.MaxConns, 1024)
	c.MaxConnsPerAddr = cmp.Or(c.MaxConnsPerAddr, 128)
	c.MaxHeaderBytes = cmp.Or(c.MaxHeaderBytes, 32<<10)
	c.MaxFetchBytes = cmp.Or(c.MaxFetchBytes, 64<<20)
	c.MaxPushBytes = cmp.Or(c.MaxPushBytes, 16<<30)
	c.MaxInflateRatio = cmp.Or(c.MaxInflateRatio, 100)
	c.HeaderTimeout = cmp.Or(c.HeaderTimeout, 30*time.Second)
	c.KeepAliveTimeout = cmp.Or(c.KeepAliveTimeout, 2*time.Minute)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, 10*time.Minute)
	c.DrainTime = cmp.Or(c.DrainTime, 30*time.Second)
	c.FailuresPerMinute = cmp.Or(c.FailuresPerMinute, 30)
	c.Log = cmp.Or(c.Log, slog.Default())
	if c.TrustedProxies == nil {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	return c
}

// GitRequest says what a git client asks for over HTTP.
type GitRequest struct {
	Who       auth.Identity // may be anonymous
	Repo      string        // a valid name
	Service   Service
	Protocol  string // the header Git-Protocol; at most 256 printable bytes
	Advertise bool   // only the advertisement: GET info/refs
}

// ServeHTTP serves HTTP on ln until ctx ends; then it accepts no more, lets running requests go on for DrainTime, cuts
// off what is left and returns nil once all have ended. It closes ln.
func ServeHTTP(ctx context.Context, ln net.Listener, c HTTPConfig) error {
	c = c.withDefaults()
	h := newHTTPHandler(c)
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: c.HeaderTimeout,
		IdleTimeout:       c.KeepAliveTimeout,
		MaxHeaderBytes:    c.MaxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ErrorLog:          slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
	}
	limited := &boundedListener{
		Listener: ln, free: make(chan struct{}, c.MaxConns), closed: make(chan struct{}),
		addrs: newAddrLimit(c.MaxConns, c.MaxConnsPerAddr), exempt: c.trusted,
	}
	drained := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(drained)
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.DrainTime)
		defer cancel()
		if srv.Shutdown(late) != nil {
			srv.Close()
		}
	})
	err := srv.Serve(limited)
	if stop() {
		srv.Close()
		h.wait()
		return fmt.Errorf("http: accept on %s: %w", ln.Addr(), err)
	}
	<-drained
	h.wait()
	return nil
}

// HTTPHandler returns what ServeHTTP serves: git's smart HTTP protocol and /healthz, nothing else.
func HTTPHandler(c HTTPConfig) http.Handler { return newHTTPHandler(c.withDefaults()) }

type httpHandler struct {
	c        HTTPConfig
	failures *failures

	mu      sync.Mutex // guards the rest
	stopped bool
	running sync.WaitGroup // requests; none is added once stopped
}

func newHTTPHandler(c HTTPConfig) *httpHandler {
	return &httpHandler{c: c, failures: &failures{perMinute: c.FailuresPerMinute}}
}

// begin counts a request in, unless the server has stopped.
func (h *httpHandler) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.stopped {
		h.running.Add(1)
	}
	return !h.stopped
}

// wait returns once no request is running, and none will be.
func (h *httpHandler) wait() {
	h.mu.Lock()
	h.stopped = true
	h.mu.Unlock()
	h.running.Wait()
}

// ServeHTTP implements http.Handler.
func (h *httpHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.begin() {
		panic(http.ErrAbortHandler)
	}
	defer h.running.Done()
	out := newResponse(w, r, h.c.IdleTimeout)
	defer out.touch() // for what net/http still has in its buffer
	defer h.recovered(out, r)
	for name, value := range map[string]string{
		"Cache-Control":           "no-cache, max-age=0, must-revalidate",
		"Pragma":                  "no-cache",
		"Expires":                 "Fri, 01 Jan 1980 00:00:00 GMT",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		"Referrer-Policy":         "no-referrer",
		"X-Content-Type-Options":  "nosniff",
		"X-Frame-Options":         "DENY",
	} {
		w.Header().Set(name, value)
	}
	switch {
	case r.URL.Path == "/healthz":
		h.healthz(out, r)
	default:
		h.git(out, r)
	}
}

// recovered is deferred: a panic becomes an error that the client cannot take for success.
func (h *httpHandler) recovered(out *response, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	h.c.Log.Error("panic", "during", "http request", "path", r.URL.Path, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
	if out.written {
		panic(http.ErrAbortHandler) // net/http cuts the connection, so that a response is not taken for whole
	}
	out.fail(http.StatusInternalServerError, "internal error, see the server's log")
}

func (h *httpHandler) healthz(out *response, r *http.Request) {
	if !out.allow("GET, HEAD") {
		return
	}
	if h.c.Healthy != nil {
		if err := h.c.Healthy(r.Context()); err != nil {
			out.fail(http.StatusServiceUnavailable, err.Error())
			return
		}
	}
	out.text(http.StatusOK, "ok")
}

// git serves one request of a git client. Until somebody has logged in, the answers are the same for a repository that
// is private and for one that does not exist.
func (h *httpHandler) git(out *response, r *http.Request) {
	route, ok := parseGitPath(r)
	if !ok {
		out.fail(http.StatusNotFound, "there is nothing here")
		return
	}
	if route.dumb {
		out.fail(http.StatusForbidden, "git's dumb HTTP protocol is not offered: use git 1.6.6 or newer, "+
			"and check that nothing between you and this server drops \"?service=\" from addresses")
		return
	}
	if !out.allow(route.method) {
		return
	}
	who, ok := h.login(out, r)
	if !ok {
		return
	}
	body, ok := h.body(out, r, route)
	if !ok {
		return
	}
	protocol := r.Header.Get("Git-Protocol")
	if !validProtocol(protocol) {
		protocol = ""
	}
	out.contentType = "application/x-" + string(route.service) + "-result"
	if route.advertise {
		out.contentType = "application/x-" + string(route.service) + "-advertisement"
	}
	err := auth.ErrNotFound
	if auth.ValidName(route.repo) == nil {
		err = h.c.Git(r.Context(), GitRequest{who, route.repo, route.service, protocol, route.advertise}, body, out)
	}
	h.finish(out, r, who, route, body, err)
}

// finish answers where the conversation did not.
func (h *httpHandler) finish(out *response, r *http.Request, who auth.Identity, route gitRoute, body *requestBody, err error) {
	if err == nil {
		out.ok()
		return
	}
	notFound, denied := errors.Is(err, auth.ErrNotFound), errors.Is(err, auth.ErrDenied)
	level := slog.LevelInfo
	if (notFound || denied) && who.Name == "" {
		level = slog.LevelDebug // git always asks without credentials first
	}
	h.c.Log.Log(r.Context(), level, "git request failed", "service", string(route.service), "repo", route.repo, "actor", who.Name, "err", err)
	if out.written {
		return // the conversation told the client what it could
	}
	var no *refused
	switch {
	case (notFound || denied) && who.Name == "":
		h.challenge(out, "log in with a token as the password")
	case notFound:
		out.fail(http.StatusNotFound, reason(err, "no such repository, or you may not see it"))
	case denied || errors.Is(err, errNotGit):
		out.fail(http.StatusForbidden, reason(err, "you may not do this"))
	case body.status != 0:
		out.fail(body.status, body.err.Error())
	case errors.As(err, &no):
		out.Header().Set("Retry-After", "10")
		out.fail(http.StatusServiceUnavailable, no.text)
	case r.Context().Err() != nil:
		out.fail(http.StatusServiceUnavailable, "the request was cut off")
	case errors.Is(err, gitproto.ErrHungUp):
		out.fail(http.StatusBadRequest, "the request ends too early")
	default:
		out.fail(http.StatusInternalServerError, "internal error, see the server's log")
	}
}

// reason is the text of a refusal, or another one if err is none.
func reason(err error, otherwise string) string {
	var no *refused
	if errors.As(err, &no) {
		return no.text
	}
	return otherwise
}

// gitRoute is what the address of a request means.
type gitRoute struct {
	repo      string
	service   Service
	advertise bool
	method    string // the only one allowed
	dumb      bool   // what a client of the dumb protocol asks for
}

// parseGitPath reads NAME.git/info/refs?service=SERVICE, NAME.git/SERVICE, and the same without .git. Every other
// address is nobody's, but for those of the dumb protocol.
func parseGitPath(r *http.Request) (gitRoute, bool) {
	path, ok := strings.CutPrefix(r.URL.Path, "/")
	if !ok || r.URL.RawPath != "" {
		return gitRoute{}, false
	}
	if repo, ok := strings.CutSuffix(path, "/info/refs"); ok {
		route := gitRoute{repo: repoName(repo), service: Service(r.URL.Query().Get("service")), advertise: true, method: "GET"}
		route.dumb = !route.service.known()
		return route, true
	}
	for _, service := range []Service{UploadPack, ReceivePack} {
		if repo, ok := strings.CutSuffix(path, "/"+string(service)); ok {
			return gitRoute{repo: repoName(repo), service: service, method: "POST"}, true
		}
	}
	if strings.HasSuffix(path, ".git/HEAD") || strings.Contains(path, ".git/objects/") {
		return gitRoute{dumb: true}, true
	}
	return gitRoute{}, false
}

func (s Service) known() bool { return s == UploadPack || s == ReceivePack }

// login finds out who asks. Without credentials that is nobody; with wrong ones the request ends here.
func (h *httpHandler) login(out *response, r *http.Request) (auth.Identity, bool) {
	if r.Header.Get("Authorization") == "" {
		return auth.Identity{}, true
	}
	if user, token, ok := r.BasicAuth(); ok {
		if who, ok := h.c.Authenticate(token); ok && who.Name != "" && (user == who.Name || user == "git" || user == "token") {
			return who, true
		}
	}
	if wait := h.failures.add(h.client(r), time.Now()); wait {
		out.Header().Set("Retry-After", "60")
		out.fail(http.StatusTooManyRequests, "too many failed logins from your address: wait a minute")
		return auth.Identity{}, false
	}
	h.challenge(out, "wrong user or token: the password is a token, and the user its owner (or \"git\"); "+
		"make one with \"token create\"")
	return auth.Identity{}, false
}

func (h *httpHandler) challenge(out *response, text string) {
	out.Header().Set("WWW-Authenticate", `Basic realm="holdfast", charset="UTF-8"`)
	out.fail(http.StatusUnauthorized, text)
}

// client is the address that a request comes from, seen through trusted proxies.
func (h *httpHandler) client(r *http.Request) netip.Prefix {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	ip := addr.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && h.c.trusted(ip); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		ip = next.Unmap()
	}
	return originOf(ip)
}

func (c HTTPConfig) trusted(ip netip.Addr) bool {
	for _, p := range c.TrustedProxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// failures counts failed logins by address. Tokens are too long to be guessed: this keeps the log and the CPU to those
// who have a use for them.
type failures struct {
	perMinute int

	mu       sync.Mutex // guards the rest
	now, old map[netip.Prefix]*rate.Limiter
}

// maxFailureAddrs bounds how many addresses each of the two generations of failures remembers.
const maxFailureAddrs = 4096

// add counts a failure and reports whether the address has had too many.
func (f *failures) add(from netip.Prefix, at time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.now[from]
	if l == nil {
		if l = f.old[from]; l == nil {
			l = rate.NewLimiter(rate.Limit(float64(f.perMinute)/60), f.perMinute)
		}
		if f.now == nil || len(f.now) >= maxFailureAddrs {
			f.now, f.old = map[netip.Prefix]*rate.Limiter{}, f.now
		}
		f.now[from] = l
	}
	return !l.AllowN(at, 1)
}
