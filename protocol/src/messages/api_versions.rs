//! ApiVersions: the first request of most connections, and the only one answered in a version the
//! broker does not know.
//!
//! A client sends its highest version. If that is unknown here, the answer is in version 0, with
//! UNSUPPORTED_VERSION and only the ApiVersions row, and the client tries again. The response
//! header is version 0 always.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use crate::error::{DecodeError, EncodeError, InField, Read};
use crate::error_code::ErrorCode;
use crate::versions::{API_VERSIONS, Api};
use crate::wire::{Put, Reader, Writer, slice_text};

/// What a client says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApiVersionsRequest {
    /// The library; empty below version 3.
    pub client_software_name: StrBytes,
    /// Its version; empty below version 3.
    pub client_software_version: StrBytes,
}

impl ApiVersionsRequest {
    /// Reads the body that starts at `body_at` of `frame`.
    pub fn parse(frame: &Bytes, body_at: usize, version: i16) -> Result<Self, DecodeError> {
        Self::read(frame, body_at, version)
            .map_err(|fault| fault.of("ApiVersions request", version))
    }

    fn read(frame: &Bytes, body_at: usize, version: i16) -> Read<Self> {
        let mut reader = Reader::new(frame, body_at, API_VERSIONS.is_flexible(version));
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            let name = reader.string().field("client_software_name")?;
            request.client_software_name = slice_text(frame, name);
            let software_version = reader.string().field("client_software_version")?;
            request.client_software_version = slice_text(frame, software_version);
        }
        reader.skip_tags()?;
        Ok(request)
    }

    /// Whether name and version are well formed (KIP-511): the answer to others is
    /// INVALID_REQUEST. Below version 3 there is nothing to be wrong.
    pub fn is_valid(&self, version: i16) -> bool {
        version < 3
            || (is_software_word(&self.client_software_name)
                && is_software_word(&self.client_software_version))
    }
}

/// Letters and digits, with dashes and dots between them.
fn is_software_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner)
}

/// A row of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiRange {
    /// Which API.
    pub key: i16,
    /// Lowest version served.
    pub min: i16,
    /// Highest version served; inclusive.
    pub max: i16,
}

impl From<&Api> for ApiRange {
    fn from(api: &Api) -> Self {
        ApiRange {
            key: api.key,
            min: api.min,
            max: api.max,
        }
    }
}

/// The levels of a feature this broker can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SupportedFeature<'a> {
    /// The feature, such as `transaction.version`.
    pub name: &'a str,
    /// Lowest level.
    pub min: i16,
    /// Highest level; inclusive.
    pub max: i16,
}

/// The level of a feature the cluster has agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinalizedFeature<'a> {
    /// The feature.
    pub name: &'a str,
    /// The level; level 0 is left out of the answer.
    pub level: i16,
}

/// The answer.
#[derive(Debug, Clone, Copy)]
pub struct ApiVersionsResponse<'a> {
    /// NONE, or INVALID_REQUEST with no rows.
    pub error_code: ErrorCode,
    /// What this listener serves.
    pub apis: &'a [ApiRange],
    /// How long the client was throttled.
    pub throttle_time_ms: i32,
    /// What this broker can run. Features whose lowest level is 0 are left out below version 4:
    /// Java clients before 3.9 fail to parse them.
    pub supported_features: &'a [SupportedFeature<'a>],
    /// Grows with every change of the finalized features; `None` while there is none.
    pub finalized_features_epoch: Option<i64>,
    /// What the cluster runs.
    pub finalized_features: &'a [FinalizedFeature<'a>],
}

impl ApiVersionsResponse<'_> {
    /// A whole response frame.
    pub fn encode(&self, version: i16, correlation_id: i32) -> Result<BytesMut, EncodeError> {
        super::response(&API_VERSIONS, version, correlation_id, |out| {
            self.put(out, version)
        })
    }

    /// The answer to a version this broker does not know: version 0, UNSUPPORTED_VERSION, and
    /// `own` as the only row.
    pub fn unsupported(own: ApiRange, correlation_id: i32) -> Result<BytesMut, EncodeError> {
        let answer = ApiVersionsResponse {
            error_code: ErrorCode::UnsupportedVersion,
            apis: &[own],
            throttle_time_ms: 0,
            supported_features: &[],
            finalized_features_epoch: None,
            finalized_features: &[],
        };
        answer.encode(0, correlation_id)
    }

    fn put(&self, out: &mut Writer<'_>, version: i16) -> Put {
        out.i16(self.error_code.code());
        out.array(self.apis, |out, api| {
            out.i16(api.key);
            out.i16(api.min);
            out.i16(api.max);
            out.no_tags();
            Ok(())
        })?;
        if version >= 1 {
            out.i32(self.throttle_time_ms);
        }
        if version >= 3 {
            self.put_features(out, version)?;
        }
        Ok(())
    }

    fn put_features(&self, out: &mut Writer<'_>, version: i16) -> Put {
        let supported: Vec<&SupportedFeature<'_>> = self
            .supported_features
            .iter()
            .filter(|feature| version >= 4 || feature.min > 0)
            .collect();
        let finalized: Vec<&FinalizedFeature<'_>> = self
            .finalized_features
            .iter()
            .filter(|feature| feature.level > 0)
            .collect();
        let epoch = self.finalized_features_epoch;
        let tags = [
            !supported.is_empty(),
            epoch.is_some(),
            !finalized.is_empty(),
        ];
        out.tag_count(tags.into_iter().map(u32::from).sum());
        if !supported.is_empty() {
            out.tag(0, |out| {
                out.array(&supported, |out, feature| {
                    out.string(feature.name)?;
                    out.i16(feature.min);
                    out.i16(feature.max);
                    out.no_tags();
                    Ok(())
                })
            })?;
        }
        if let Some(epoch) = epoch {
            out.tag(1, |out| {
                out.i64(epoch);
                Ok(())
            })?;
        }
        if !finalized.is_empty() {
            out.tag(2, |out| {
                out.array(&finalized, |out, feature| {
                    out.string(feature.name)?;
                    // Highest, then lowest: the cluster runs one level, which is both.
                    out.i16(feature.level);
                    out.i16(feature.level);
                    out.no_tags();
                    Ok(())
                })
            })?;
        }
        Ok(())
    }
}
