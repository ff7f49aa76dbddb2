//go:build slow

package replication_test

const (
	defaultLineSeeds = 20
	defaultLineSteps = 60
)
