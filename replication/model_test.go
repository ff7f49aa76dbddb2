package replication_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/replication"
	"holdfast/replication/buckettest"
	"holdfast/storage"
)

var (
	modelSeed  = flag.Uint64("model.seed", 0, "run the model test with this seed only")
	modelSeeds = flag.Uint64("model.seeds", 8, "how many seeds the model test runs")
	modelSteps = flag.Int("model.steps", 120, "how many steps the model test makes for a seed")
)

// TestModel makes random pushes, faults, crashes and restarts, and holds the host to its word: what Wait confirmed is on
// enough mirrors with all before it and its packs; no object is ever put with other bytes; and once all faults are over,
// every mirror holds everything and the spool is empty.
func TestModel(t *testing.T) {
	first, last := uint64(1), *modelSeeds
	if *modelSeed != 0 {
		first, last = *modelSeed, *modelSeed
	}
	if testing.Short() {
		last = min(last, first+2)
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newModel(t, seed)
				for i := range *modelSteps {
					m.step(i)
				}
				m.finish()
			})
		})
	}
}

type model struct {
	*host
	rnd *rand.Rand

	mu    sync.Mutex
	acked storage.Seq // the highest that Wait confirmed
	waits sync.WaitGroup
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{host: newHost(t), rnd: rand.New(rand.NewPCG(seed, 7))}
	m.o.InlineBytes = 2 << 10
	switch m.rnd.IntN(3) {
	case 0:
		m.mo = replication.MirrorOptions{Conditional: true, Idempotent: true}
		m.conditional(buckettest.WriteOnce)
	case 1:
		m.mo = replication.MirrorOptions{}
		m.conditional(buckettest.Ignored)
	}
	m.start()
	return m
}

func (m *model) conditional(c buckettest.Conditional) {
	for _, b := range m.buckets {
		b.Conditional = c
	}
}

func (m *model) bucket() *buckettest.Bucket { return m.buckets[m.rnd.IntN(len(m.buckets))] }

func (m *model) step(i int) {
	switch n := m.rnd.IntN(100); {
	case n < 45:
		m.pushSmall(1+m.rnd.IntN(4), i)
	case n < 60:
		m.pushBigModel(i)
	case n < 75:
		time.Sleep(time.Duration(m.rnd.IntN(20_000)) * time.Millisecond)
	case n < 80:
		m.bucket().Chaos(m.rnd.Uint64(), 10+m.rnd.IntN(60))
	case n < 84:
		down(m.bucket())
	case n < 92:
		m.bucket().Calm()
	case n < 96:
		m.crash()
		m.check()
		m.start()
	default:
		m.stop()
		m.waits.Wait()
		m.check()
		m.start()
	}
}

func (m *model) pushSmall(count, i int) {
	var seq storage.Seq
	for k := range count {
		seq = m.push(strings.Repeat(fmt.Sprintf("%d.%d ", i, k), m.rnd.IntN(200)+1))
	}
	m.wait(seq)
}

func (m *model) pushBigModel(i int) {
	data := strings.Repeat(fmt.Sprintf("big %d ", i), 600+m.rnd.IntN(400_000))
	lose := m.rnd.IntN(4) == 0
	j, r := m.j, m.r
	m.waits.Go(func() {
		b := r.NewBigPack(context.Background())
		defer b.Abort()
		b.Write([]byte(data))
		external, err := b.Complete(context.Background())
		if err != nil || lose {
			return
		}
		if seq := j.commit(m.t, external, data); seq > 0 {
			r.Notify()
			m.confirm(r, seq)
		}
	})
}

// wait waits in the background: a slow ack must not hold up the model.
func (m *model) wait(seq storage.Seq) {
	r := m.r
	m.waits.Go(func() { m.confirm(r, seq) })
}

func (m *model) confirm(r *replication.Replicator, seq storage.Seq) {
	if _, err := r.Wait(context.Background(), seq); err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.acked = max(m.acked, seq)
	}
}

// crash also lets everybody who waits find that out.
func (m *model) crash() {
	m.host.crash()
	m.waits.Wait()
}

func (m *model) check() {
	m.t.Helper()
	m.mu.Lock()
	acked := m.acked
	m.mu.Unlock()
	holders := 0
	for _, b := range m.buckets {
		if len(b.Rewrites()) > 0 {
			m.t.Fatalf("put with other bytes: %v", b.Rewrites())
		}
		if m.w.proven(m.t, b.Clone(m.t), m.j) >= acked {
			holders++
		}
	}
	if holders < 2 {
		m.t.Fatalf("entry %d was confirmed, and %d mirrors hold it", acked, holders)
	}
}

func (m *model) finish() {
	for _, b := range m.buckets {
		b.Calm()
	}
	m.push("the last push")
	time.Sleep(10 * time.Minute)
	synctest.Wait()
	m.waits.Wait()
	last, _, _ := m.j.Head()
	m.check()
	for i, b := range m.buckets {
		s := m.status(m.names[i])
		if got := m.w.proven(m.t, b.Clone(m.t), m.j); got != last || s.State != replication.StateOK || s.Acked != last {
			m.t.Errorf("%s holds up to %d of %d: %+v", m.names[i], got, last, s)
		}
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	if left := m.spoolFiles(""); len(left) != 0 {
		m.t.Errorf("left in the spool: %v", left)
	}
}
