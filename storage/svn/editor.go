package svn

// Editor receives the difference between two trees, from the root down, depth first. At most one directory's child is open
// at a time, but for files, which may stay open after their directory's other entries have gone by; each directory is closed
// after all below it. After an error the driver calls Abort and nothing else; so it does to give up.
//
// Paths are relative to the root of the edit. An Editor is for one goroutine.
//
// Source: svn_delta.h, svn_delta_editor_t.
type Editor interface {
	// SetTargetRevision tells the revision that the edit leads to. It is called at most once, before OpenRoot, and not for
	// commits.
	SetTargetRevision(rev Revnum) error
	// OpenRoot opens the root of the edit; base is the revision that it stands at.
	OpenRoot(base Revnum) (DirEditor, error)
	// Close ends the edit: for a commit, it makes the revision.
	Close() error
	// Abort gives up; nothing may be called after it.
	Abort() error
}

// DirEditor changes a directory.
type DirEditor interface {
	// DeleteEntry removes an entry; rev is the one that the driver believes it to be at, or InvalidRevnum.
	DeleteEntry(path string, rev Revnum) error
	// AddDirectory adds one, empty or, with from, as a copy.
	AddDirectory(path string, from *CopyFrom) (DirEditor, error)
	// OpenDirectory opens one that is there at revision base.
	OpenDirectory(path string, base Revnum) (DirEditor, error)
	// AbsentDirectory tells that there is a directory that may not be shown.
	AbsentDirectory(path string) error
	// AddFile and OpenFile are as for directories.
	AddFile(path string, from *CopyFrom) (FileEditor, error)
	OpenFile(path string, base Revnum) (FileEditor, error)
	// AbsentFile tells that there is a file that may not be shown.
	AbsentFile(path string) error
	// ChangeProp sets a property; nil removes it.
	ChangeProp(name string, value *string) error
	// Close ends the directory.
	Close() error
}

// FileEditor changes a file.
type FileEditor interface {
	// ApplyTextDelta returns what takes the windows that make the new text from the base's: the file's text before, empty for
	// an added one without a source. baseMD5 is the base's checksum in hexadecimal as the driver knows it, or "". A nil handler
	// takes none: the driver need not make them.
	ApplyTextDelta(baseMD5 string) (WindowHandler, error)
	// ChangeProp sets a property; nil removes it.
	ChangeProp(name string, value *string) error
	// Close ends the file. textMD5 is the checksum of its new text in hexadecimal, or "" if it is not known or unchanged.
	Close(textMD5 string) error
}

// WindowHandler takes the windows of a text delta, in order. What a window holds is valid during the call.
type WindowHandler interface {
	Window(w *Window) error
	// Close tells that there are no more windows.
	Close() error
}

// Window makes one part of a target text from one part of its source, the source view, and from new data. The parts of the target
// follow each other; source views never move back.
//
// Source: Subversion's notes/svndiff.
type Window struct {
	SourceOffset int64
	SourceLen    int // at most MaxWindow
	TargetLen    int // at most MaxWindow
	Ops          []Op
	NewData      []byte
}

// MaxWindow bounds views and new data of a window, in bytes.
const MaxWindow = 102400

// Op is an instruction of a window.
type Op struct {
	Action OpAction
	Offset int // in the source view or the target; in NewData for FromNew
	Len    int
}

// OpAction says where an Op copies from.
type OpAction uint8

// The actions, with their codes in svndiff. A copy from the target may overlap what it makes, which repeats it.
const (
	FromSource OpAction = iota
	FromTarget
	FromNew
)
