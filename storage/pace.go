package storage

import (
	"context"
	"time"
)

// pacer slows down what is done behind the pushes: it takes Options.MergeShare of a core, and less while pushes are under way.
type pacer struct {
	ctx    context.Context
	s      *Store
	worked time.Time // when the last pause ended
}

func (s *Store) newPacer(ctx context.Context) *pacer {
	return &pacer{ctx: ctx, s: s, worked: time.Now()}
}

// pace lets others run, if it is time for that. It is to be called every few milliseconds, and returns the context's error.
func (p *pacer) pace() error {
	const slice = 20 * time.Millisecond
	share := p.s.opts.MergeShare
	if share < 100 && p.s.pushes.Load() > 0 {
		share = max(1, share/5)
	}
	busy := time.Since(p.worked)
	if share < 100 && busy >= slice && p.ctx.Err() == nil {
		timer := time.NewTimer(min(busy*time.Duration(100-share)/time.Duration(share), time.Second))
		defer timer.Stop()
		select {
		case <-p.ctx.Done():
		case <-timer.C:
		}
		p.worked = time.Now()
	}
	return p.ctx.Err()
}
