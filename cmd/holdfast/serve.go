package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
)

func serveCommand(a *app) *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve a host's repositories until SIGTERM or SIGINT",
		Long: `Serve a host's repositories over SSH and HTTP, and over svn:// where svn.listen is set, and stream every push to the mirrors.

It prints one line a listener once that listener is ready, and logs to standard error. On the first
SIGTERM or SIGINT it takes no new sessions, lets running ones end, and exits; the second kills it.

The heap is kept small: 56 MB with garbage while less than 47 are in use, then a fifth more than is in
use. GOGC or GOMEMLIMIT in the environment, where set, decide instead.`,
		Example: "  holdfast serve --data /srv/holdfast",
		RunE: func(cmd *cobra.Command, args []string) error {
			tuneHeap(a.Getenv)
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			dir := a.dataDir()
			cfg, err := a.loadConfig(dir)
			if err != nil {
				return err
			}
			return a.serve(cmd.Context(), dir, cfg, a.logger(level), nil)
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "log every session too")
	return cmd
}

// logger writes to stderr, as JSON where the command's facts are JSON.
func (a *app) logger(level slog.Level) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if a.json {
		return slog.New(slog.NewJSONHandler(a.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(a.Stderr, o))
}

// listener is an open port and what serves it.
type listener struct {
	net.Listener
	service string // "ssh", "svn", "http"
}

// listen opens the configured listeners.
func listen(ctx context.Context, cfg *config) (all []listener, err error) {
	defer func() {
		if err != nil {
			closeAll(all)
		}
	}()
	for _, l := range []struct{ service, addr string }{{"ssh", cfg.SSH}, {"svn", cfg.Svn}, {"http", cfg.HTTP}} {
		if l.addr == "" {
			continue
		}
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l.addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w: another program listens there; change %s.listen in %s", err, l.service, configName)
		}
		if err != nil {
			return all, fmt.Errorf("%s: %w", l.service, err)
		}
		all = append(all, listener{ln, l.service})
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("nothing to serve: ssh.listen, svn.listen and http.listen are all off in %s", configName)
	}
	return all, nil
}

func closeAll(lns []listener) {
	for _, ln := range lns {
		ln.Close()
	}
}

// addr returns where a service listens, "" if it does not.
func addr(lns []listener, service string) string {
	for _, ln := range lns {
		if ln.service == service {
			return ln.Addr().String()
		}
	}
	return ""
}

// serve runs a host until ctx ends. ready, if there is one, is called once all listeners are open.
func (a *app) serve(ctx context.Context, dir string, cfg *config, log *slog.Logger, ready func(h *host) error) (err error) {
	lns, err := listen(ctx, cfg)
	if err != nil {
		return err
	}
	defer closeAll(lns)
	h, err := a.wire(ctx, dir, cfg, log, lns)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if err := h.recordConfig(filepath.Join(dir, configName)); err != nil {
		return err
	}
	key, err := h.srv.HostKey()
	if err != nil {
		return err
	}
	admin, err := listenAdmin(dir)
	if err != nil {
		return err
	}
	defer admin.Close()
	if w := exposed(dir); w != "" {
		log.Warn(w)
	}
	h.start()

	// A failing listener ends the others too, and so does the replicator, which never ends by itself.
	g, serving := errgroup.WithContext(ctx)
	g.Go(func() error { return h.failed(serving) })
	g.Go(func() error { return serveAdmin(serving, admin, h.srv, log) })
	for _, ln := range lns {
		g.Go(func() error { return h.serveOn(serving, ln) })
	}
	log.Info("serving", "data", dir, "host_key", ssh.FingerprintSHA256(key.PublicKey()), "detached", h.detached)
	g.Go(func() error { return a.announce(h, lns, ready) })
	err = g.Wait()
	log.Info("stopped", "err", err)
	return err
}

// announce says that the host is ready.
func (a *app) announce(h *host, lns []listener, ready func(h *host) error) error {
	for _, ln := range lns {
		if err := a.printListening(ln.service, ln.Addr()); err != nil {
			return err
		}
	}
	if ready == nil {
		return nil
	}
	return ready(h)
}

func (h *host) serveOn(ctx context.Context, ln listener) error {
	switch ln.service {
	case "ssh":
		return h.srv.ServeSSH(ctx, ln.Listener)
	case "svn":
		return h.srv.ServeSvn(ctx, ln.Listener)
	}
	return h.srv.ServeHTTP(ctx, ln.Listener)
}

// printListening is the line that scripts wait for.
func (a *app) printListening(service string, at net.Addr) error {
	if a.json {
		return a.printJSONLine(struct {
			Listening string `json:"listening"`
			Address   string `json:"address"`
		}{service, at.String()})
	}
	_, err := fmt.Fprintf(a.Stdout, "%s listening on %s\n", service, at)
	return err
}
