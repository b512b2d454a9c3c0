#!/bin/sh
# The bucket, and a user who may work in it and nowhere else: the services never get MinIO's root user.
# Run at every start; what is there already is left, and the user gets the secret that is set now.
set -eu

bucket=${OBJECT_STORE#s3://}
policy=docqa-$bucket

pair() { printf '%s\n%s\n' "$1" "$2"; } # keys over a pipe: arguments can be seen by others

pair "$MINIO_ROOT_USER" "$MINIO_ROOT_PASSWORD" | mc --quiet alias set minio "$MINIO_URL" >/dev/null
mc --quiet mb --ignore-existing "minio/$bucket"

cat >/tmp/policy.json <<EOT
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": ["s3:ListBucket", "s3:GetBucketLocation", "s3:GetBucketVersioning", "s3:ListBucketMultipartUploads"],
      "Resource": ["arn:aws:s3:::$bucket"]
    },
    {
      "Effect": "Allow",
      "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload",
                 "s3:ListMultipartUploadParts"],
      "Resource": ["arn:aws:s3:::$bucket/*"]
    }
  ]
}
EOT
mc --quiet admin policy create minio "$policy" /tmp/policy.json
pair "$S3_ACCESS_KEY" "$S3_SECRET_KEY" | mc --quiet admin user add minio >/dev/null
if ! answer=$(mc --quiet admin policy attach minio "$policy" --user "$S3_ACCESS_KEY" 2>&1); then
  case $answer in
    *"already in effect"*) ;;
    *) echo "$answer" >&2; exit 1 ;;
  esac
fi
echo "The bucket $bucket is there, and $S3_ACCESS_KEY may use it."
