package svnrepos

// TxnName returns the name of the transaction that OpenRoot has begun, or "".
func (e *CommitEditor) TxnName() string {
	if e.txn == nil {
		return ""
	}
	return e.txn.Name()
}
