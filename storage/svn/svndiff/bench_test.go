package svndiff_test

import (
	"bytes"
	"io"
	"testing"

	"holdfast/storage/svn/svndiff"
)

func BenchmarkDelta(b *testing.B) {
	for _, name := range [...]string{"text", "small edit", "other", "big from nothing", "the same"} {
		c := cases(b)[name]
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(c[1])))
			b.ReportAllocs()
			for b.Loop() {
				h := svndiff.NewEncoder(io.Discard, 0, 0)
				if err := svndiff.Delta(bytes.NewReader(c[0]), bytes.NewReader(c[1]), h, svndiff.DeltaOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	text := cases(b)["text"][0]
	for version, name := range [...]string{"plain", "zlib", "LZ4"} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if err := svndiff.Delta(nil, bytes.NewReader(text), svndiff.NewEncoder(io.Discard, version, 5), svndiff.DeltaOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkApply(b *testing.B) {
	c := cases(b)["text"]
	for version, name := range [...]string{"plain", "zlib", "LZ4"} {
		delta := encode(b, c[0], c[1], version, 5)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(c[1])))
			b.ReportAllocs()
			for b.Loop() {
				d := svndiff.NewDecoder(svndiff.NewApplier(bytes.NewReader(c[0]), io.Discard, nil))
				if _, err := d.Write(delta); err != nil {
					b.Fatal(err)
				}
				if err := d.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
