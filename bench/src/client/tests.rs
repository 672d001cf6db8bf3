use bytes::Bytes;
use proptest::prelude::*;
use tidewheel_protocol::decode_request_frame;
use tidewheel_protocol::messages::produce::ProduceRequest;

use super::ProduceFrame;

proptest! {
    #[test]
    fn a_frame_around_a_batch_is_the_request_it_should_be(
        version in 3_i16..=12,
        len in 0_usize..70_000,
        correlation_id: i32,
        partition in 0_i32..1000,
    ) {
        let batch = Bytes::from(vec![7; len]);
        let frame = ProduceFrame::new(version, "orders", partition, 1, 500);
        let parts = frame.parts(correlation_id, batch.clone());
        let whole = parts.concat();
        prop_assert!(whole.len() <= frame.overhead() + batch.len());
        let announced = u32::from_be_bytes(*whole.first_chunk().unwrap()) as usize;
        prop_assert_eq!(announced, whole.len() - 4);
        let (header, request) =
            decode_request_frame::<ProduceRequest>(Bytes::from(whole).slice(4..)).unwrap();
        prop_assert_eq!(header.correlation_id, correlation_id);
        prop_assert_eq!(request.acks, 1);
        prop_assert_eq!(request.timeout_ms, 500);
        let topic = &request.topic_data[0];
        prop_assert_eq!(&*topic.name, "orders");
        prop_assert_eq!(topic.partition_data[0].index, partition);
        prop_assert_eq!(topic.partition_data[0].records.as_ref(), Some(&batch));
    }
}
