"""The platform's store of artifacts: blobs by digest, and an index for each folder, in the model's part of a bucket.

    PREFIX/blobs/sha256/DIGEST      the bytes of a file, once
    PREFIX/folders/PLACE/NAME.json  the files of a folder; written last, so that a folder is whole or not there
    PREFIX/retain                   a mark: all of it stays when the model is deleted

The containers that use it hold the store's credentials, and parse no model.
"""
