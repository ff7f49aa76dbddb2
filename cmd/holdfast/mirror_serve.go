package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"holdfast/replication/worm"
)

// mirrorServe is what `mirror serve` is told.
type mirrorServe struct {
	dir, addr, bucket, cert, key, quota, rate string
}

func mirrorServeCommand(a *app) *cobra.Command {
	var o mirrorServe
	cmd := &cobra.Command{
		Use:   "serve --dir DIR --listen ADDR --bucket NAME",
		Short: "Run an append-only S3 endpoint on a machine of your own",
		Long: `Run an append-only S3 endpoint: a mirror on a machine of your own, such as a NAS or an office across
town. The writer's key may put objects, the reader's may get and list them, and no call deletes or
overwrites. The keys come from the environment:

  HOLDFAST_WRITER_KEY, HOLDFAST_WRITER_SECRET    for the host
  HOLDFAST_READER_KEY, HOLDFAST_READER_SECRET    for the recovery kit

Run it on a machine, and as a user, that the host cannot log in to. Without --cert and --key it
listens on loopback only. Where the certificate is from an authority of your own, name that in the
host's environment: SSL_CERT_FILE=ca.pem.`,
		Example: `  holdfast mirror serve --dir /srv/mirror --listen 127.0.0.1:9000 --bucket code
  holdfast mirror serve --dir /srv/mirror --listen 0.0.0.0:9000 --bucket code --cert tls.crt --key tls.key --quota 2TiB`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := require(cmd, "dir", "listen", "bucket"); err != nil {
				return err
			}
			return a.mirrorServe(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", "", "the `directory` for the objects, made if it is missing")
	f.StringVar(&o.addr, "listen", "", "the `address` to listen on, HOST:PORT; port 0 takes a free one")
	f.StringVar(&o.bucket, "bucket", "", "the bucket's `name`")
	f.StringVar(&o.cert, "cert", "", "`file` with the TLS certificate chain, PEM")
	f.StringVar(&o.key, "key", "", "`file` with the TLS private key, PEM")
	f.StringVar(&o.quota, "quota", "", "the `size` past which writes are refused, such as 500GiB (default: the disk's)")
	f.StringVar(&o.rate, "rate", "", "bound of what the writer may send, as `size` a second, such as 50MiB (default: none)")
	return cmd
}

func (a *app) mirrorServe(ctx context.Context, o mirrorServe) (err error) {
	cfg, err := a.wormConfig(o)
	if err != nil {
		return err
	}
	tlsConfig, err := o.tls()
	if err != nil {
		return err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.addr)
	if err != nil {
		return err
	}
	if tlsConfig != nil {
		ln = tls.NewListener(ln, tlsConfig)
	}
	endpoint, err := worm.New(cfg)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	defer func() { err = errors.Join(err, endpoint.Close()) }()
	return serveHTTP(ctx, ln, endpoint, func() error { return a.printListening("s3", ln.Addr()) })
}

// wormConfig checks the options and takes the keys from the environment.
func (a *app) wormConfig(o mirrorServe) (worm.Config, error) {
	cfg := worm.Config{
		Dir: o.dir, Bucket: o.bucket, Log: a.logger(slog.LevelInfo),
		Writer: worm.KeyPair{AccessKey: a.Getenv("HOLDFAST_WRITER_KEY"), SecretKey: a.Getenv("HOLDFAST_WRITER_SECRET")},
		Reader: worm.KeyPair{AccessKey: a.Getenv("HOLDFAST_READER_KEY"), SecretKey: a.Getenv("HOLDFAST_READER_SECRET")},
	}
	for _, name := range []string{"HOLDFAST_WRITER_KEY", "HOLDFAST_WRITER_SECRET", "HOLDFAST_READER_KEY", "HOLDFAST_READER_SECRET"} {
		if a.Getenv(name) == "" {
			return cfg, fmt.Errorf("the environment variable %s is not set", name)
		}
	}
	if o.addr == "" {
		return cfg, usagef("--listen needs an address such as 127.0.0.1:9000")
	}
	if err := checkListen(o.addr); err != nil {
		return cfg, usagef("--listen %w", err)
	}
	if !bucketName.MatchString(o.bucket) {
		return cfg, usagef("--bucket: %q is not a bucket name (3 to 63 of a-z, 0-9, . and -)", shorten(o.bucket))
	}
	var err error
	if cfg.QuotaBytes, err = sizeFlag("quota", o.quota); err != nil {
		return cfg, err
	}
	cfg.RatePerWriter, err = sizeFlag("rate", o.rate)
	return cfg, err
}

// sizeFlag reads a size; none given is 0.
func sizeFlag(name, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := parseSize(text)
	if err != nil {
		return 0, usagef("--%s %w", name, err)
	}
	return n, nil
}

// tls returns the TLS configuration, nil for plain http, which is for loopback only.
func (o mirrorServe) tls() (*tls.Config, error) {
	if (o.cert == "") != (o.key == "") {
		return nil, usagef("--cert and --key belong together")
	}
	if o.cert == "" {
		host, _, err := net.SplitHostPort(o.addr)
		if err == nil && !loopback(host) {
			err = usagef("--listen %s is not loopback: give --cert and --key, or listen on 127.0.0.1", o.addr)
		}
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// drainTime is how long requests under way may go on once a mirror is asked to stop.
const drainTime = 10 * time.Second

// serveHTTP serves handler on ln until ctx ends; ready is called once it does.
func serveHTTP(ctx context.Context, ln net.Listener, handler http.Handler, ready func() error) error {
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	if err := ready(); err != nil {
		return errors.Join(err, srv.Close(), drop(<-failed))
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	err := srv.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close()
	}
	return errors.Join(err, drop(<-failed))
}

// drop takes the error away with which net/http says that it was asked to stop.
func drop(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
