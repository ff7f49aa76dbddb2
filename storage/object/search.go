package object

import (
	"bytes"
	"encoding/binary"
	"sort"
)

// SearchIDs searches records of stride bytes, sorted by the id with which each begins, and returns the number of the first
// whose id is not below sum; that of all records if there is none. sum is an id of any format, in bytes.
func SearchIDs(records []byte, stride int, sum []byte) int {
	below := func(i int) bool { return bytes.Compare(records[i*stride:i*stride+len(sum)], sum) < 0 }
	lo, hi := nearID(len(records)/stride, sum, below)
	return lo + sort.Search(hi-lo, func(i int) bool { return !below(lo + i) })
}

// nearID narrows a search among n records by guessing: ids are spread evenly. The record sought is in [lo, hi].
func nearID(n int, sum []byte, below func(i int) bool) (lo, hi int) {
	const reach = 64
	guess := int(uint64(binary.BigEndian.Uint32(sum)) * uint64(n) >> 32)
	lo, hi = 0, n
	for step := reach; guess-step > 0; step *= 8 {
		if below(guess - step) {
			lo = guess - step
			break
		}
		hi = guess - step
	}
	for step := reach; guess+step < n; step *= 8 {
		if !below(guess + step) {
			hi = min(hi, guess+step)
			break
		}
		lo = max(lo, guess+step)
	}
	return lo, hi
}
