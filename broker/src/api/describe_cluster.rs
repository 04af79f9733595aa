//! DescribeCluster (60), versions 0-2.
//!
//! | version | adds |
//! |---|---|
//! | 1 | brokers or controllers (KIP-919): controllers are on their own listener |
//! | 2 | fenced brokers (KIP-1073) |

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use reka_protocol::kafka_protocol::messages::{
    BrokerId, DescribeClusterRequest, DescribeClusterResponse,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::{Call, Context, Handler, operations};

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// The cluster's id and brokers.
#[derive(Debug)]
pub struct DescribeCluster;

impl Handler for DescribeCluster {
    type Request = DescribeClusterRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: DescribeClusterRequest,
    ) -> DescribeClusterResponse {
        let response = DescribeClusterResponse::default().with_cluster_authorized_operations(
            operations::of_cluster(request.include_cluster_authorized_operations),
        );
        if call.version >= 1 && request.endpoint_type != BROKERS {
            let error_code = match request.endpoint_type {
                CONTROLLERS => ErrorCode::MismatchedEndpointType,
                _ => ErrorCode::UnsupportedEndpointType,
            };
            return response
                .with_error_code(error_code.code())
                .with_error_message(Some(StrBytes::from_static_str(
                    match request.endpoint_type {
                        CONTROLLERS => {
                            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
                        }
                        _ => "Unsupported endpoint type",
                    },
                )));
        }
        let image = context.services.quorum.image();
        let (host, port) = context.advertised();
        let brokers = image
            .brokers()
            .iter()
            .map(|broker| {
                DescribeClusterBroker::default()
                    .with_broker_id(BrokerId(broker.id()))
                    .with_host(StrBytes::from_string(host.clone()))
                    .with_port(i32::from(port))
                    .with_rack(broker.registration.rack.clone().map(StrBytes::from_string))
            })
            .collect();
        response
            .with_endpoint_type(if call.version >= 1 { BROKERS } else { 1 })
            .with_cluster_id(StrBytes::from_string(context.services.cluster_id.clone()))
            .with_controller_id(BrokerId(context.services.broker_id))
            .with_brokers(brokers)
    }
}
