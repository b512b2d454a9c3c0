"""The engines that production uses, for tests: Apache Kafka, PostgreSQL, MinIO and Chroma.

Each is used where it is given by its address, else started as a container where a Docker engine has its image, else
started on this machine from what its makers publish.
"""
