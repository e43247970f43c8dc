//! Policies to paste, in the language that AWS and most of the others share.

use super::PREFIX;

/// The bucket policy: everybody reads the one prefix.
pub fn for_the_public(bucket: &str) -> String {
    format!(
        r#"{{
  "Version": "2012-10-17",
  "Statement": [{{
    "Sid": "BistroPublicRead",
    "Effect": "Allow",
    "Principal": "*",
    "Action": "s3:GetObject",
    "Resource": "arn:aws:s3:::{bucket}/{PREFIX}*"
  }}]
}}"#
    )
}

/// The policy of the user or role whose keys the program has: no more than it needs.
pub fn for_the_owner(bucket: &str) -> String {
    format!(
        r#"{{
  "Version": "2012-10-17",
  "Statement": [{{
    "Sid": "BistroObjects",
    "Effect": "Allow",
    "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
    "Resource": "arn:aws:s3:::{bucket}/{PREFIX}*"
  }}, {{
    "Sid": "BistroNames",
    "Effect": "Allow",
    "Action": "s3:ListBucket",
    "Resource": "arn:aws:s3:::{bucket}"
  }}]
}}"#
    )
}
