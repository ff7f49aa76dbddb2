package pack

// PathHash tells objects apart by the path at which a tree names them: good bases for deltas are older and newer objects of
// the same path, then those whose names end alike. In the order of their hashes, equal paths are side by side, and names
// that end alike are near. It is the same in every process. The zero value stands for no path.
type PathHash uint64

// RootPath is the path of a commit's tree.
const RootPath PathHash = 1

// Below returns the hash of an entry of the directory h. The upper 32 bits are of the name, in which its last bytes count
// most; the lower 32 bits are of the whole path.
func (h PathHash) Below(name []byte) PathHash {
	end, path := uint32(0), uint64(uint32(h))+1
	for _, c := range name {
		end = end>>2 + uint32(c)<<24
		path = (path ^ uint64(c)) * 0x100000001b3
	}
	path ^= path >> 32
	return PathHash(end)<<32 | PathHash(uint32(path*0x9e3779b97f4a7c15>>32)|1)
}
