"""The platform's store of artifacts: files by digest, and a list of the files of each folder, in a place of each model.

In a bucket:

    PREFIX/blobs/sha256/DIGEST      the bytes of a file, once
    PREFIX/folders/PLACE/NAME.json  the files of a folder; written last, so that a folder is whole or not there
    PREFIX/retain                   a mark: all of it stays when the model is deleted

In a registry, where each folder is an image with a layer for each file:

    REPOSITORY:UID-PLACE-NAME       the image's manifest; written last
    REPOSITORY:UID-retain           the mark

The containers that use it hold the store's credentials, and parse no model.
"""
