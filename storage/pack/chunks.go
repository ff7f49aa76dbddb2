package pack

// chunks is a list that grows without copying, so that a long one never needs twice its memory. T should hold no pointers.
type chunks[T any] struct {
	list [][]T
	n    int
}

const (
	chunkBits = 13
	chunkSize = 1 << chunkBits
)

func (c *chunks[T]) len() int { return c.n }

// at returns a pointer to element i. It stays valid if reserve had made room for the element, or from chunkSize on.
func (c *chunks[T]) at(i uint32) *T { return &c.list[i>>chunkBits][i&(chunkSize-1)] }

// reserve sizes an empty list for n elements or the first chunkSize of them.
func (c *chunks[T]) reserve(n int64) { c.list = append(c.list, make([]T, min(n, chunkSize))) }

// add appends a zero T.
func (c *chunks[T]) add() (uint32, *T) {
	i := c.n
	chunk := i >> chunkBits
	switch {
	case chunk == len(c.list):
		size := chunkSize
		if i == 0 {
			size = 64 // a small pack gets a small list
		}
		c.list = append(c.list, make([]T, size))
	case chunk == 0 && i == len(c.list[0]):
		grown := make([]T, min(max(4*i, 64), chunkSize))
		copy(grown, c.list[0])
		c.list[0] = grown
	}
	c.n++
	return uint32(i), c.at(uint32(i))
}
