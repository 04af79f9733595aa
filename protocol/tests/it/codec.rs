//! The codec crate's messages behind one function per question, so that a test can loop over all
//! APIs.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as m;
use kafka_protocol::protocol::{Decodable, Encodable, Message, Request, VersionRange};
use reka_protocol::codec::{decode_request, encode_request};
use reka_protocol::versions::{self, Api};

/// What the codec crate makes of a request body.
pub(crate) struct Decoded {
    /// Bytes it did not read.
    pub(crate) left: usize,
    /// The message, encoded again.
    pub(crate) again: Result<BytesMut, String>,
}

/// The codec crate's side of one API.
pub(crate) struct Codec {
    pub(crate) key: i16,
    pub(crate) request: VersionRange,
    pub(crate) response: VersionRange,
    pub(crate) decode: fn(Bytes, i16) -> Result<Decoded, String>,
    /// Decodes and drops: nothing but the decoder allocates.
    pub(crate) decode_only: fn(Bytes, i16) -> bool,
    pub(crate) encode_default: fn(i16) -> Result<BytesMut, String>,
    /// The same of the answer, which the client side decodes.
    pub(crate) decode_answer: fn(Bytes, i16) -> Result<Decoded, String>,
    pub(crate) decode_only_answer: fn(Bytes, i16) -> bool,
}

fn codec<T: Request + Default + 'static>() -> Codec {
    fn api<T: Request>() -> &'static Api {
        versions::by_key(T::KEY).expect("in the table")
    }
    fn encode<T: Request + 'static>(message: &T, version: i16) -> Result<BytesMut, String> {
        let mut out = BytesMut::new();
        encode_request(api::<T>(), version, message, &mut out)
            .map_err(|error| error.to_string())?;
        Ok(out)
    }
    Codec {
        key: T::KEY,
        request: T::VERSIONS,
        response: <T::Response as Message>::VERSIONS,
        decode: |mut body, version| {
            let message: T = decode_request(api::<T>(), version, &mut body)?;
            Ok(Decoded {
                left: body.len(),
                again: encode(&message, version),
            })
        },
        decode_only: |mut body, version| {
            decode_request::<T>(api::<T>(), version, &mut body).is_ok()
        },
        encode_default: |version| encode(&T::default(), version),
        decode_answer: |mut body, version| {
            let message = <T::Response as Decodable>::decode(&mut body, version)
                .map_err(|error| error.to_string())?;
            let mut again = BytesMut::new();
            let encoded = message.encode(&mut again, version);
            Ok(Decoded {
                left: body.len(),
                again: encoded.map(|()| again).map_err(|error| error.to_string()),
            })
        },
        decode_only_answer: |mut body, version| {
            <T::Response as Decodable>::decode(&mut body, version).is_ok()
        },
    }
}

/// Every API of the version table, by key.
pub(crate) fn all() -> Vec<Codec> {
    vec![
        codec::<m::ProduceRequest>(),
        codec::<m::FetchRequest>(),
        codec::<m::ListOffsetsRequest>(),
        codec::<m::MetadataRequest>(),
        codec::<m::OffsetCommitRequest>(),
        codec::<m::OffsetFetchRequest>(),
        codec::<m::FindCoordinatorRequest>(),
        codec::<m::JoinGroupRequest>(),
        codec::<m::HeartbeatRequest>(),
        codec::<m::LeaveGroupRequest>(),
        codec::<m::SyncGroupRequest>(),
        codec::<m::DescribeGroupsRequest>(),
        codec::<m::ListGroupsRequest>(),
        codec::<m::SaslHandshakeRequest>(),
        codec::<m::ApiVersionsRequest>(),
        codec::<m::CreateTopicsRequest>(),
        codec::<m::DeleteTopicsRequest>(),
        codec::<m::DeleteRecordsRequest>(),
        codec::<m::InitProducerIdRequest>(),
        codec::<m::OffsetForLeaderEpochRequest>(),
        codec::<m::AddPartitionsToTxnRequest>(),
        codec::<m::AddOffsetsToTxnRequest>(),
        codec::<m::EndTxnRequest>(),
        codec::<m::WriteTxnMarkersRequest>(),
        codec::<m::TxnOffsetCommitRequest>(),
        codec::<m::DescribeAclsRequest>(),
        codec::<m::CreateAclsRequest>(),
        codec::<m::DeleteAclsRequest>(),
        codec::<m::DescribeConfigsRequest>(),
        codec::<m::AlterConfigsRequest>(),
        codec::<m::AlterReplicaLogDirsRequest>(),
        codec::<m::DescribeLogDirsRequest>(),
        codec::<m::SaslAuthenticateRequest>(),
        codec::<m::CreatePartitionsRequest>(),
        codec::<m::DeleteGroupsRequest>(),
        codec::<m::ElectLeadersRequest>(),
        codec::<m::IncrementalAlterConfigsRequest>(),
        codec::<m::AlterPartitionReassignmentsRequest>(),
        codec::<m::ListPartitionReassignmentsRequest>(),
        codec::<m::OffsetDeleteRequest>(),
        codec::<m::DescribeClientQuotasRequest>(),
        codec::<m::AlterClientQuotasRequest>(),
        codec::<m::DescribeUserScramCredentialsRequest>(),
        codec::<m::AlterUserScramCredentialsRequest>(),
        codec::<m::DescribeQuorumRequest>(),
        codec::<m::AlterPartitionRequest>(),
        codec::<m::UpdateFeaturesRequest>(),
        codec::<m::EnvelopeRequest>(),
        codec::<m::DescribeClusterRequest>(),
        codec::<m::DescribeProducersRequest>(),
        codec::<m::BrokerRegistrationRequest>(),
        codec::<m::BrokerHeartbeatRequest>(),
        codec::<m::UnregisterBrokerRequest>(),
        codec::<m::DescribeTransactionsRequest>(),
        codec::<m::ListTransactionsRequest>(),
        codec::<m::AllocateProducerIdsRequest>(),
        codec::<m::ConsumerGroupHeartbeatRequest>(),
        codec::<m::ConsumerGroupDescribeRequest>(),
        codec::<m::ListConfigResourcesRequest>(),
        codec::<m::DescribeTopicPartitionsRequest>(),
        codec::<m::AddRaftVoterRequest>(),
        codec::<m::RemoveRaftVoterRequest>(),
    ]
}
