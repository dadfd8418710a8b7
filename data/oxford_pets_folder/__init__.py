"""The official Oxford-IIIT Pet files in a folder of the reader's, all checked."""
