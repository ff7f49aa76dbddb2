package svnfs

// What decoders make of bytes, encoded again; for fuzzing.

func RecodeNode(b []byte) ([]byte, error) {
	r, err := decodeNode(ID{}, b)
	if err != nil {
		return nil, err
	}
	return r.encode(), nil
}

func RecodeBucket(b []byte) ([]byte, error) {
	e, err := decodeBucket(ID{}, b)
	if err != nil {
		return nil, err
	}
	return encodeBucket(e), nil
}

func RecodeRevision(b []byte) ([]byte, error) {
	r, err := decodeRevision(ID{}, b)
	if err != nil {
		return nil, err
	}
	return r.encode(), nil
}

func DecodeFacts(b []byte) error {
	_, err := decodeFacts(b)
	return err
}
