package object_test

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"

	"holdfast/storage/object"
)

// onePack makes a pack of one object, which is how git is given a bad one.
func onePack(t object.Type, data []byte) []byte {
	var b bytes.Buffer
	b.WriteString("PACK\x00\x00\x00\x02\x00\x00\x00\x01")
	size := len(data)
	c := byte(t)<<4 | byte(size&15)
	for size >>= 4; size > 0; size >>= 7 {
		b.WriteByte(c | 0x80)
		c = byte(size & 0x7f)
	}
	b.WriteByte(c)
	z := zlib.NewWriter(&b)
	z.Write(data)
	z.Close()
	sum := sha1.Sum(b.Bytes())
	b.Write(sum[:])
	return b.Bytes()
}
