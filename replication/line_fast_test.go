//go:build !slow

package replication_test

const (
	defaultLineSeeds = 3
	defaultLineSteps = 30
)
