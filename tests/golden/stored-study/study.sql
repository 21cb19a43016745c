BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'stored');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_system_attributes" VALUES(1,1,'study:metric_names','["output_throughput_tokens_per_s"]');
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'definition','{"models": {"small": {"path": "Qwen3-8B", "architecture": null, "settings": {}}}, "hardware": {"gpu": "RTX 2080 Ti 22GB", "num_gpus": 2, "gpu_memory": null, "interconnect": "pcie", "host_memory": 68719476736.0, "cpu_cores": null}, "engine": {"version": "0.8.5", "settings": {"dtype": "half", "max_model_len": 4096}, "env": {}, "extra_args": []}, "container": {"image": "vllm/vllm-openai:v0.8.5", "runtime": "nvidia", "model_mount": "/model", "container_port": 8000, "ipc": "host", "shm_size": null, "memory_limit": null, "cpuset_cpus": null, "ulimits": {"memlock": -1, "stack": 67108864}}, "workload": {"name": "custom", "concurrency": 4, "num_requests": 6, "input_tokens": 64, "output_tokens": 16, "shared_prefix_tokens": 0, "shared_prefix_share": 1.0, "turns": 1, "turn_tokens": 128, "prompts": null, "repeat_prompts": false, "ramp": 0.0, "request_rate": null, "burstiness": 1.0, "start_rate": null, "trace_speed": 1.0, "max_concurrency": null, "warmup_requests": null, "endpoint": "completions", "ignore_eos": true, "request_timeout": 1800.0, "seed": 0}, "objective": {"metric": "output_throughput", "slo": {}}, "repeats": 1, "search_space": {"layout": ["2xtp1", "1xtp2"], "max_num_seqs": [8, 32], "block_size": [16, 32]}}');
INSERT INTO "study_user_attributes" VALUES(2,1,'about','"Qwen3-8B on 2 x RTX 2080 Ti 22GB, vLLM 0.8.5, load custom"');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,2,'layout',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["2xtp1", "1xtp2"]}}');
INSERT INTO "trial_params" VALUES(2,2,'max_num_seqs',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [8, 32]}}');
INSERT INTO "trial_params" VALUES(3,2,'block_size',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [16, 32]}}');
INSERT INTO "trial_params" VALUES(4,3,'layout',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["2xtp1", "1xtp2"]}}');
INSERT INTO "trial_params" VALUES(5,3,'max_num_seqs',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [8, 32]}}');
INSERT INTO "trial_params" VALUES(6,3,'block_size',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [16, 32]}}');
INSERT INTO "trial_params" VALUES(7,4,'layout',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["2xtp1", "1xtp2"]}}');
INSERT INTO "trial_params" VALUES(8,4,'max_num_seqs',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [8, 32]}}');
INSERT INTO "trial_params" VALUES(9,4,'block_size',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [16, 32]}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_system_attributes" VALUES(1,1,'constraints:requests complete','-0.05');
INSERT INTO "trial_system_attributes" VALUES(2,2,'constraints:requests complete','-0.05');
INSERT INTO "trial_system_attributes" VALUES(3,3,'constraints:requests complete','-0.05');
INSERT INTO "trial_system_attributes" VALUES(4,4,'constraints:requests complete','-0.05');
INSERT INTO "trial_system_attributes" VALUES(5,5,'constraints:requests complete','-0.05');
INSERT INTO "trial_system_attributes" VALUES(6,6,'constraints:requests complete','-0.05');
INSERT INTO "trial_system_attributes" VALUES(7,7,'constraints:requests complete','-0.05');
INSERT INTO "trial_system_attributes" VALUES(8,8,'constraints:requests complete','-0.05');
INSERT INTO "trial_system_attributes" VALUES(9,9,'constraints:requests complete','-0.05');
INSERT INTO "trial_system_attributes" VALUES(10,10,'constraints:requests complete','-0.05');
INSERT INTO "trial_system_attributes" VALUES(11,11,'constraints:requests complete','-0.05');
INSERT INTO "trial_system_attributes" VALUES(12,12,'constraints:requests complete','-0.05');
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'candidate','"{\"model\":\"small\",\"layout\":{\"instances\":2,\"tensor_parallel_size\":1,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":1,\"max_model_len\":4096},\"env\":[]}"');
INSERT INTO "trial_user_attributes" VALUES(2,1,'record','"{\"number\":0,\"candidate\":{\"model\":\"small\",\"layout\":{\"instances\":2,\"tensor_parallel_size\":1,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":1,\"max_model_len\":4096},\"env\":[]},\"outcome\":\"measured\",\"value\":80.99183309174282,\"constraints\":[{\"name\":\"requests complete\",\"excess\":-0.05,\"message\":\"0% of the requests failed\",\"kind\":\"slo\"}],\"predicted_value\":75.78419787435129,\"predicted_memory\":{\"total_bytes\":null,\"weight_bytes\":16394072064.0,\"non_torch_bytes\":53687091.2,\"activation_bytes\":1519976448.0,\"graph_bytes\":281018368.0,\"kv_cache_bytes\":2788687872.0,\"num_blocks\":1182,\"kv_tokens\":18912},\"real_memory\":null,\"metrics\":{\"request_throughput\":5.061989568233926,\"input_throughput\":323.9673323669713,\"output_throughput\":80.99183309174282,\"total_token_throughput\":404.9591654587141,\"ttft_mean\":0.06222204110381228,\"ttft_std\":0.00022457432616648787,\"ttft_p50\":0.062144995160437255,\"ttft_p90\":0.06252739432850118,\"ttft_p95\":0.06252739432850118,\"ttft_p99\":0.06252739432850118,\"tpot_mean\":0.03532288818437344,\"tpot_std\":0.00010546717186217458,\"tpot_p50\":0.035249760113229084,\"tpot_p90\":0.03547203197131742,\"tpot_p95\":0.03547203197131742,\"tpot_p99\":0.03547203197131742,\"itl_mean\":0.03532288818437344,\"itl_std\":0.00034997515104234474,\"itl_p50\":0.03531112989824292,\"itl_p90\":0.03577777282869621,\"itl_p95\":0.035893061573554874,\"itl_p99\":0.03608353231348893,\"e2el_mean\":0.5920653638694139,\"e2el_std\":0.001799580115989434,\"e2el_p50\":0.5908913968588735,\"e2el_p90\":0.5946078738982625,\"e2el_p95\":0.5946078738982625,\"e2el_p99\":0.5946078738982625},\"repeat_values\":[80.99183309174282],\"stopped_at\":null,\"pace_errors\":[0.0],\"at_loads\":[],\"preemptions\":0,\"failed_requests\":0,\"start_s\":69.31758880615234,\"benchmark_s\":1.7782983923033737,\"failure\":null,\"disturbances\":[],\"rerun\":null,\"host_speed\":1.0,\"provenance\":{\"planner_version\":\"0.1.0\",\"backend\":\"simulated\",\"simulated\":true,\"vllm_version\":\"0.8.5\",\"image\":\"vllm/vllm-openai:v0.8.5\",\"gpu\":\"RTX 2080 Ti 22GB\",\"workload_seed\":0,\"finished_at\":\"2026-11-30T12:32:44+00:00\",\"machine\":{\"driver\":null,\"image_digest\":null,\"lasting_image\":null,\"host\":null}}}"');
INSERT INTO "trial_user_attributes" VALUES(3,1,'settings','"engine defaults layout=2xtp1"');
INSERT INTO "trial_user_attributes" VALUES(4,1,'outcome','"measured"');
INSERT INTO "trial_user_attributes" VALUES(5,1,'backend','"SIMULATED"');
INSERT INTO "trial_user_attributes" VALUES(6,1,'output_throughput_tokens_per_s','80.9918');
INSERT INTO "trial_user_attributes" VALUES(7,1,'request_throughput_per_s','5.06199');
INSERT INTO "trial_user_attributes" VALUES(8,1,'ttft_p50_s','0.062145');
INSERT INTO "trial_user_attributes" VALUES(9,1,'ttft_p95_s','0.0625274');
INSERT INTO "trial_user_attributes" VALUES(10,1,'tpot_p50_s','0.0352498');
INSERT INTO "trial_user_attributes" VALUES(11,1,'tpot_p95_s','0.035472');
INSERT INTO "trial_user_attributes" VALUES(12,1,'predicted_output_throughput_tokens_per_s','75.7842');
INSERT INTO "trial_user_attributes" VALUES(13,1,'kv_cache_tokens','18912');
INSERT INTO "trial_user_attributes" VALUES(14,1,'start_s','69.3176');
INSERT INTO "trial_user_attributes" VALUES(15,1,'benchmark_s','1.7783');
INSERT INTO "trial_user_attributes" VALUES(16,2,'candidate','"{\"model\":\"small\",\"layout\":{\"instances\":1,\"tensor_parallel_size\":2,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":2,\"max_model_len\":4096,\"max_num_seqs\":8,\"block_size\":32},\"env\":[]}"');
INSERT INTO "trial_user_attributes" VALUES(17,2,'record','"{\"number\":1,\"candidate\":{\"model\":\"small\",\"layout\":{\"instances\":1,\"tensor_parallel_size\":2,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":2,\"max_model_len\":4096,\"max_num_seqs\":8,\"block_size\":32},\"env\":[]},\"outcome\":\"measured\",\"value\":116.92558872817105,\"constraints\":[{\"name\":\"requests complete\",\"excess\":-0.05,\"message\":\"0% of the requests failed\",\"kind\":\"slo\"}],\"predicted_value\":97.70733594629426,\"predicted_memory\":{\"total_bytes\":null,\"weight_bytes\":8202596352.0,\"non_torch_bytes\":214748364.8,\"activation_bytes\":327155712.0,\"graph_bytes\":118085045.7654566,\"kv_cache_bytes\":12011175936.0,\"num_blocks\":5091,\"kv_tokens\":162912},\"real_memory\":null,\"metrics\":{\"request_throughput\":7.307849295510691,\"input_throughput\":467.7023549126842,\"output_throughput\":116.92558872817105,\"total_token_throughput\":584.6279436408553,\"ttft_mean\":0.07291452413446449,\"ttft_std\":0.018638148794813847,\"ttft_p50\":0.08609368553604124,\"ttft_p90\":0.08609368553604124,\"ttft_p95\":0.08609368553604124,\"ttft_p99\":0.08609368553604124,\"tpot_mean\":0.02298884926437895,\"tpot_std\":0.00012071454871800344,\"tpot_p50\":0.023074207340365322,\"tpot_p90\":0.023074207340365322,\"tpot_p95\":0.023074207340365322,\"tpot_p99\":0.023074207340365322,\"itl_mean\":0.022988849264378945,\"itl_std\":0.00022766087395487174,\"itl_p50\":0.022985814371284885,\"itl_p90\":0.02328558770272393,\"itl_p95\":0.02332927225114345,\"itl_p99\":0.023393131766145214,\"e2el_mean\":0.4177472631001487,\"e2el_std\":0.020448867025583913,\"e2el_p50\":0.4322067956415211,\"e2el_p90\":0.4322067956415211,\"e2el_p95\":0.4322067956415211,\"e2el_p99\":0.4322067956415211},\"repeat_values\":[116.92558872817105],\"stopped_at\":null,\"pace_errors\":[0.0],\"at_loads\":[],\"preemptions\":0,\"failed_requests\":0,\"start_s\":41.85352630615235,\"benchmark_s\":1.253402931323545,\"failure\":null,\"disturbances\":[],\"rerun\":null,\"host_speed\":1.0,\"provenance\":{\"planner_version\":\"0.1.0\",\"backend\":\"simulated\",\"simulated\":true,\"vllm_version\":\"0.8.5\",\"image\":\"vllm/vllm-openai:v0.8.5\",\"gpu\":\"RTX 2080 Ti 22GB\",\"workload_seed\":0,\"finished_at\":\"2026-11-30T12:32:45+00:00\",\"machine\":{\"driver\":null,\"image_digest\":null,\"lasting_image\":null,\"host\":null}}}"');
INSERT INTO "trial_user_attributes" VALUES(18,2,'settings','"layout=1xtp2 max_num_seqs=8 block_size=32"');
INSERT INTO "trial_user_attributes" VALUES(19,2,'outcome','"measured"');
INSERT INTO "trial_user_attributes" VALUES(20,2,'backend','"SIMULATED"');
INSERT INTO "trial_user_attributes" VALUES(21,2,'output_throughput_tokens_per_s','116.926');
INSERT INTO "trial_user_attributes" VALUES(22,2,'request_throughput_per_s','7.30785');
INSERT INTO "trial_user_attributes" VALUES(23,2,'ttft_p50_s','0.0860937');
INSERT INTO "trial_user_attributes" VALUES(24,2,'ttft_p95_s','0.0860937');
INSERT INTO "trial_user_attributes" VALUES(25,2,'tpot_p50_s','0.0230742');
INSERT INTO "trial_user_attributes" VALUES(26,2,'tpot_p95_s','0.0230742');
INSERT INTO "trial_user_attributes" VALUES(27,2,'predicted_output_throughput_tokens_per_s','97.7073');
INSERT INTO "trial_user_attributes" VALUES(28,2,'kv_cache_tokens','162912');
INSERT INTO "trial_user_attributes" VALUES(29,2,'start_s','41.8535');
INSERT INTO "trial_user_attributes" VALUES(30,2,'benchmark_s','1.2534');
INSERT INTO "trial_user_attributes" VALUES(31,3,'candidate','"{\"model\":\"small\",\"layout\":{\"instances\":1,\"tensor_parallel_size\":2,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":2,\"max_model_len\":4096,\"max_num_seqs\":32,\"block_size\":16},\"env\":[]}"');
INSERT INTO "trial_user_attributes" VALUES(32,3,'record','"{\"number\":2,\"candidate\":{\"model\":\"small\",\"layout\":{\"instances\":1,\"tensor_parallel_size\":2,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":2,\"max_model_len\":4096,\"max_num_seqs\":32,\"block_size\":16},\"env\":[]},\"outcome\":\"measured\",\"value\":116.26994253568985,\"constraints\":[{\"name\":\"requests complete\",\"excess\":-0.05,\"message\":\"0% of the requests failed\",\"kind\":\"slo\"}],\"predicted_value\":97.70733594629426,\"predicted_memory\":{\"total_bytes\":null,\"weight_bytes\":8202596352.0,\"non_torch_bytes\":214748364.8,\"activation_bytes\":327155712.0,\"graph_bytes\":207238654.08954906,\"kv_cache_bytes\":12012355584.0,\"num_blocks\":10183,\"kv_tokens\":162928},\"real_memory\":null,\"metrics\":{\"request_throughput\":7.266871408480616,\"input_throughput\":465.0797701427594,\"output_throughput\":116.26994253568985,\"total_token_throughput\":581.3497126784492,\"ttft_mean\":0.07514137101784187,\"ttft_std\":0.019278967508544884,\"ttft_p50\":0.08877365967740908,\"ttft_p90\":0.08877365967740908,\"ttft_p95\":0.08877365967740908,\"ttft_p99\":0.08877365967740908,\"tpot_mean\":0.023016049287554585,\"tpot_std\":0.0001383215990184349,\"tpot_p50\":0.023113857428205088,\"tpot_p90\":0.023113857428205088,\"tpot_p95\":0.023113857428205088,\"tpot_p99\":0.023113857428205088,\"itl_mean\":0.02301604928755459,\"itl_std\":0.0002783870664824336,\"itl_p50\":0.023098786241949498,\"itl_p90\":0.023259796031903868,\"itl_p95\":0.02327973220516899,\"itl_p99\":0.0236474398292571,\"e2el_mean\":0.4203821103311607,\"e2el_std\":0.021353791493821404,\"e2el_p50\":0.4354815211004854,\"e2el_p90\":0.4354815211004854,\"e2el_p95\":0.4354815211004854,\"e2el_p99\":0.4354815211004854},\"repeat_values\":[116.26994253568985],\"stopped_at\":null,\"pace_errors\":[0.0],\"at_loads\":[],\"preemptions\":0,\"failed_requests\":0,\"start_s\":43.034776306152345,\"benchmark_s\":1.259457819963501,\"failure\":null,\"disturbances\":[],\"rerun\":null,\"host_speed\":1.0,\"provenance\":{\"planner_version\":\"0.1.0\",\"backend\":\"simulated\",\"simulated\":true,\"vllm_version\":\"0.8.5\",\"image\":\"vllm/vllm-openai:v0.8.5\",\"gpu\":\"RTX 2080 Ti 22GB\",\"workload_seed\":0,\"finished_at\":\"2026-11-30T12:32:47+00:00\",\"machine\":{\"driver\":null,\"image_digest\":null,\"lasting_image\":null,\"host\":null}}}"');
INSERT INTO "trial_user_attributes" VALUES(33,3,'settings','"layout=1xtp2 max_num_seqs=32 block_size=16"');
INSERT INTO "trial_user_attributes" VALUES(34,3,'outcome','"measured"');
INSERT INTO "trial_user_attributes" VALUES(35,3,'backend','"SIMULATED"');
INSERT INTO "trial_user_attributes" VALUES(36,3,'output_throughput_tokens_per_s','116.27');
INSERT INTO "trial_user_attributes" VALUES(37,3,'request_throughput_per_s','7.26687');
INSERT INTO "trial_user_attributes" VALUES(38,3,'ttft_p50_s','0.0887737');
INSERT INTO "trial_user_attributes" VALUES(39,3,'ttft_p95_s','0.0887737');
INSERT INTO "trial_user_attributes" VALUES(40,3,'tpot_p50_s','0.0231139');
INSERT INTO "trial_user_attributes" VALUES(41,3,'tpot_p95_s','0.0231139');
INSERT INTO "trial_user_attributes" VALUES(42,3,'predicted_output_throughput_tokens_per_s','97.7073');
INSERT INTO "trial_user_attributes" VALUES(43,3,'kv_cache_tokens','162928');
INSERT INTO "trial_user_attributes" VALUES(44,3,'start_s','43.0348');
INSERT INTO "trial_user_attributes" VALUES(45,3,'benchmark_s','1.25946');
INSERT INTO "trial_user_attributes" VALUES(46,4,'candidate','"{\"model\":\"small\",\"layout\":{\"instances\":1,\"tensor_parallel_size\":2,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":2,\"max_model_len\":4096,\"max_num_seqs\":8,\"block_size\":16},\"env\":[]}"');
INSERT INTO "trial_user_attributes" VALUES(47,4,'record','"{\"number\":3,\"candidate\":{\"model\":\"small\",\"layout\":{\"instances\":1,\"tensor_parallel_size\":2,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":2,\"max_model_len\":4096,\"max_num_seqs\":8,\"block_size\":16},\"env\":[]},\"outcome\":\"measured\",\"value\":114.15744670877305,\"constraints\":[{\"name\":\"requests complete\",\"excess\":-0.05,\"message\":\"0% of the requests failed\",\"kind\":\"slo\"}],\"predicted_value\":97.70733594629426,\"predicted_memory\":{\"total_bytes\":null,\"weight_bytes\":8202596352.0,\"non_torch_bytes\":214748364.8,\"activation_bytes\":327155712.0,\"graph_bytes\":118085045.7654566,\"kv_cache_bytes\":12012355584.0,\"num_blocks\":10183,\"kv_tokens\":162928},\"real_memory\":null,\"metrics\":{\"request_throughput\":7.134840419298316,\"input_throughput\":456.6297868350922,\"output_throughput\":114.15744670877305,\"total_token_throughput\":570.7872335438652,\"ttft_mean\":0.07598923950196017,\"ttft_std\":0.019533992057324798,\"ttft_p50\":0.08980185774933869,\"ttft_p90\":0.08980185774933869,\"ttft_p95\":0.08980185774933869,\"ttft_p99\":0.08980185774933869,\"tpot_mean\":0.023444902882153812,\"tpot_std\":0.000053657264682734644,\"tpot_p50\":0.023482844297870894,\"tpot_p90\":0.023482844297870894,\"tpot_p95\":0.023482844297870894,\"tpot_p99\":0.023482844297870894,\"itl_mean\":0.023444902882153812,\"itl_std\":0.0001689431134061682,\"itl_p50\":0.02348190597347999,\"itl_p90\":0.023628581382188263,\"itl_p95\":0.023675025403215977,\"itl_p99\":0.02371458519893055,\"e2el_mean\":0.4276627827342672,\"e2el_std\":0.020338851027565826,\"e2el_p50\":0.4420445222174021,\"e2el_p90\":0.4420445222174021,\"e2el_p95\":0.4420445222174021,\"e2el_p99\":0.4420445222174021},\"repeat_values\":[114.15744670877305],\"stopped_at\":null,\"pace_errors\":[0.0],\"at_loads\":[],\"preemptions\":0,\"failed_requests\":0,\"start_s\":41.85352630615235,\"benchmark_s\":1.2841072395433297,\"failure\":null,\"disturbances\":[],\"rerun\":null,\"host_speed\":1.0,\"provenance\":{\"planner_version\":\"0.1.0\",\"backend\":\"simulated\",\"simulated\":true,\"vllm_version\":\"0.8.5\",\"image\":\"vllm/vllm-openai:v0.8.5\",\"gpu\":\"RTX 2080 Ti 22GB\",\"workload_seed\":0,\"finished_at\":\"2026-11-30T12:32:48+00:00\",\"machine\":{\"driver\":null,\"image_digest\":null,\"lasting_image\":null,\"host\":null}}}"');
INSERT INTO "trial_user_attributes" VALUES(48,4,'settings','"layout=1xtp2 max_num_seqs=8 block_size=16"');
INSERT INTO "trial_user_attributes" VALUES(49,4,'outcome','"measured"');
INSERT INTO "trial_user_attributes" VALUES(50,4,'backend','"SIMULATED"');
INSERT INTO "trial_user_attributes" VALUES(51,4,'output_throughput_tokens_per_s','114.157');
INSERT INTO "trial_user_attributes" VALUES(52,4,'request_throughput_per_s','7.13484');
INSERT INTO "trial_user_attributes" VALUES(53,4,'ttft_p50_s','0.0898019');
INSERT INTO "trial_user_attributes" VALUES(54,4,'ttft_p95_s','0.0898019');
INSERT INTO "trial_user_attributes" VALUES(55,4,'tpot_p50_s','0.0234828');
INSERT INTO "trial_user_attributes" VALUES(56,4,'tpot_p95_s','0.0234828');
INSERT INTO "trial_user_attributes" VALUES(57,4,'predicted_output_throughput_tokens_per_s','97.7073');
INSERT INTO "trial_user_attributes" VALUES(58,4,'kv_cache_tokens','162928');
INSERT INTO "trial_user_attributes" VALUES(59,4,'start_s','41.8535');
INSERT INTO "trial_user_attributes" VALUES(60,4,'benchmark_s','1.28411');
INSERT INTO "trial_user_attributes" VALUES(61,5,'rerun','"{\"of\":0,\"series\":\"0,1,2,3\",\"round\":0}"');
INSERT INTO "trial_user_attributes" VALUES(62,5,'candidate','"{\"model\":\"small\",\"layout\":{\"instances\":2,\"tensor_parallel_size\":1,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":1,\"max_model_len\":4096},\"env\":[]}"');
INSERT INTO "trial_user_attributes" VALUES(63,5,'record','"{\"number\":4,\"candidate\":{\"model\":\"small\",\"layout\":{\"instances\":2,\"tensor_parallel_size\":1,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":1,\"max_model_len\":4096},\"env\":[]},\"outcome\":\"measured\",\"value\":81.28882890771601,\"constraints\":[{\"name\":\"requests complete\",\"excess\":-0.05,\"message\":\"0% of the requests failed\",\"kind\":\"slo\"}],\"predicted_value\":75.78419787435129,\"predicted_memory\":{\"total_bytes\":null,\"weight_bytes\":16394072064.0,\"non_torch_bytes\":53687091.2,\"activation_bytes\":1519976448.0,\"graph_bytes\":281018368.0,\"kv_cache_bytes\":2788687872.0,\"num_blocks\":1182,\"kv_tokens\":18912},\"real_memory\":null,\"metrics\":{\"request_throughput\":5.080551806732251,\"input_throughput\":325.15531563086404,\"output_throughput\":81.28882890771601,\"total_token_throughput\":406.44414453858,\"ttft_mean\":0.06215302211864049,\"ttft_std\":0.0006406374415102887,\"ttft_p50\":0.06244067158055977,\"ttft_p90\":0.06275061986758568,\"ttft_p95\":0.06275061986758568,\"ttft_p99\":0.06275061986758568,\"tpot_mean\":0.035322523354901436,\"tpot_std\":0.00018083384424671787,\"tpot_p50\":0.03522219639536156,\"tpot_p90\":0.03557618941475128,\"tpot_p95\":0.03557618941475128,\"tpot_p99\":0.03557618941475128,\"itl_mean\":0.035322523354901436,\"itl_std\":0.0004290975559058114,\"itl_p50\":0.03528870046327304,\"itl_p90\":0.03597232843390713,\"itl_p95\":0.036073773390079444,\"itl_p99\":0.03624369967658181,\"e2el_mean\":0.5919908724421621,\"e2el_std\":0.003045569744581684,\"e2el_p50\":0.5900586065862454,\"e2el_p90\":0.596289745249011,\"e2el_p95\":0.596289745249011,\"e2el_p99\":0.596289745249011},\"repeat_values\":[82.07987903851347,80.49777877691854],\"stopped_at\":null,\"pace_errors\":[0.0,0.0],\"at_loads\":[],\"preemptions\":0,\"failed_requests\":0,\"start_s\":69.31758880615234,\"benchmark_s\":3.5566790948266904,\"failure\":null,\"disturbances\":[],\"rerun\":{\"of\":0,\"series\":\"0,1,2,3\",\"round\":0},\"host_speed\":1.0,\"provenance\":{\"planner_version\":\"0.1.0\",\"backend\":\"simulated\",\"simulated\":true,\"vllm_version\":\"0.8.5\",\"image\":\"vllm/vllm-openai:v0.8.5\",\"gpu\":\"RTX 2080 Ti 22GB\",\"workload_seed\":0,\"finished_at\":\"2026-11-30T12:32:49+00:00\",\"machine\":{\"driver\":null,\"image_digest\":null,\"lasting_image\":null,\"host\":null}}}"');
INSERT INTO "trial_user_attributes" VALUES(64,5,'settings','"engine defaults layout=2xtp1"');
INSERT INTO "trial_user_attributes" VALUES(65,5,'outcome','"measured"');
INSERT INTO "trial_user_attributes" VALUES(66,5,'backend','"SIMULATED"');
INSERT INTO "trial_user_attributes" VALUES(67,5,'output_throughput_tokens_per_s','81.2888');
INSERT INTO "trial_user_attributes" VALUES(68,5,'request_throughput_per_s','5.08055');
INSERT INTO "trial_user_attributes" VALUES(69,5,'ttft_p50_s','0.0624407');
INSERT INTO "trial_user_attributes" VALUES(70,5,'ttft_p95_s','0.0627506');
INSERT INTO "trial_user_attributes" VALUES(71,5,'tpot_p50_s','0.0352222');
INSERT INTO "trial_user_attributes" VALUES(72,5,'tpot_p95_s','0.0355762');
INSERT INTO "trial_user_attributes" VALUES(73,5,'predicted_output_throughput_tokens_per_s','75.7842');
INSERT INTO "trial_user_attributes" VALUES(74,5,'kv_cache_tokens','18912');
INSERT INTO "trial_user_attributes" VALUES(75,5,'start_s','69.3176');
INSERT INTO "trial_user_attributes" VALUES(76,5,'benchmark_s','3.55668');
INSERT INTO "trial_user_attributes" VALUES(77,5,'final_of','0');
INSERT INTO "trial_user_attributes" VALUES(78,6,'rerun','"{\"of\":1,\"series\":\"0,1,2,3\",\"round\":0}"');
INSERT INTO "trial_user_attributes" VALUES(79,6,'candidate','"{\"model\":\"small\",\"layout\":{\"instances\":1,\"tensor_parallel_size\":2,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":2,\"max_model_len\":4096,\"max_num_seqs\":8,\"block_size\":32},\"env\":[]}"');
INSERT INTO "trial_user_attributes" VALUES(80,6,'record','"{\"number\":5,\"candidate\":{\"model\":\"small\",\"layout\":{\"instances\":1,\"tensor_parallel_size\":2,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":2,\"max_model_len\":4096,\"max_num_seqs\":8,\"block_size\":32},\"env\":[]},\"outcome\":\"measured\",\"value\":113.47622515329766,\"constraints\":[{\"name\":\"requests complete\",\"excess\":-0.05,\"message\":\"0% of the requests failed\",\"kind\":\"slo\"}],\"predicted_value\":97.70733594629426,\"predicted_memory\":{\"total_bytes\":null,\"weight_bytes\":8202596352.0,\"non_torch_bytes\":214748364.8,\"activation_bytes\":327155712.0,\"graph_bytes\":118085045.7654566,\"kv_cache_bytes\":12011175936.0,\"num_blocks\":5091,\"kv_tokens\":162912},\"real_memory\":null,\"metrics\":{\"request_throughput\":7.092264072081104,\"input_throughput\":453.90490061319065,\"output_throughput\":113.47622515329766,\"total_token_throughput\":567.3811257664883,\"ttft_mean\":0.0765925571476527,\"ttft_std\":0.01955709270117706,\"ttft_p50\":0.09042151001694892,\"ttft_p90\":0.09042151001694892,\"ttft_p95\":0.09042151001694892,\"ttft_p99\":0.09042151001694892,\"tpot_mean\":0.02360794456085563,\"tpot_std\":0.00015054793378145218,\"tpot_p50\":0.02371439802572612,\"tpot_p90\":0.02371439802572612,\"tpot_p95\":0.02371439802572612,\"tpot_p99\":0.02371439802572612,\"itl_mean\":0.023607944560855628,\"itl_std\":0.0002580103175861617,\"itl_p50\":0.02361983808401752,\"itl_p90\":0.02398104649424382,\"itl_p95\":0.024002764324426107,\"itl_p99\":0.024030455430624154,\"e2el_mean\":0.4307117255604872,\"e2el_std\":0.02181531170789884,\"e2el_p50\":0.44613748040284074,\"e2el_p90\":0.44613748040284074,\"e2el_p95\":0.44613748040284074,\"e2el_p99\":0.44613748040284074},\"repeat_values\":[113.7657790592254,113.18667124736992],\"stopped_at\":null,\"pace_errors\":[0.0,0.0],\"at_loads\":[],\"preemptions\":0,\"failed_requests\":0,\"start_s\":41.85352630615235,\"benchmark_s\":2.5801692322664573,\"failure\":null,\"disturbances\":[],\"rerun\":{\"of\":1,\"series\":\"0,1,2,3\",\"round\":0},\"host_speed\":1.0,\"provenance\":{\"planner_version\":\"0.1.0\",\"backend\":\"simulated\",\"simulated\":true,\"vllm_version\":\"0.8.5\",\"image\":\"vllm/vllm-openai:v0.8.5\",\"gpu\":\"RTX 2080 Ti 22GB\",\"workload_seed\":0,\"finished_at\":\"2026-11-30T12:32:50+00:00\",\"machine\":{\"driver\":null,\"image_digest\":null,\"lasting_image\":null,\"host\":null}}}"');
INSERT INTO "trial_user_attributes" VALUES(81,6,'settings','"layout=1xtp2 max_num_seqs=8 block_size=32"');
INSERT INTO "trial_user_attributes" VALUES(82,6,'outcome','"measured"');
INSERT INTO "trial_user_attributes" VALUES(83,6,'backend','"SIMULATED"');
INSERT INTO "trial_user_attributes" VALUES(84,6,'output_throughput_tokens_per_s','113.476');
INSERT INTO "trial_user_attributes" VALUES(85,6,'request_throughput_per_s','7.09226');
INSERT INTO "trial_user_attributes" VALUES(86,6,'ttft_p50_s','0.0904215');
INSERT INTO "trial_user_attributes" VALUES(87,6,'ttft_p95_s','0.0904215');
INSERT INTO "trial_user_attributes" VALUES(88,6,'tpot_p50_s','0.0237144');
INSERT INTO "trial_user_attributes" VALUES(89,6,'tpot_p95_s','0.0237144');
INSERT INTO "trial_user_attributes" VALUES(90,6,'predicted_output_throughput_tokens_per_s','97.7073');
INSERT INTO "trial_user_attributes" VALUES(91,6,'kv_cache_tokens','162912');
INSERT INTO "trial_user_attributes" VALUES(92,6,'start_s','41.8535');
INSERT INTO "trial_user_attributes" VALUES(93,6,'benchmark_s','2.58017');
INSERT INTO "trial_user_attributes" VALUES(94,6,'final_of','1');
INSERT INTO "trial_user_attributes" VALUES(95,7,'rerun','"{\"of\":2,\"series\":\"0,1,2,3\",\"round\":0}"');
INSERT INTO "trial_user_attributes" VALUES(96,7,'candidate','"{\"model\":\"small\",\"layout\":{\"instances\":1,\"tensor_parallel_size\":2,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":2,\"max_model_len\":4096,\"max_num_seqs\":32,\"block_size\":16},\"env\":[]}"');
INSERT INTO "trial_user_attributes" VALUES(97,7,'record','"{\"number\":6,\"candidate\":{\"model\":\"small\",\"layout\":{\"instances\":1,\"tensor_parallel_size\":2,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":2,\"max_model_len\":4096,\"max_num_seqs\":32,\"block_size\":16},\"env\":[]},\"outcome\":\"measured\",\"value\":113.35646584383724,\"constraints\":[{\"name\":\"requests complete\",\"excess\":-0.05,\"message\":\"0% of the requests failed\",\"kind\":\"slo\"}],\"predicted_value\":97.70733594629426,\"predicted_memory\":{\"total_bytes\":null,\"weight_bytes\":8202596352.0,\"non_torch_bytes\":214748364.8,\"activation_bytes\":327155712.0,\"graph_bytes\":207238654.08954906,\"kv_cache_bytes\":12012355584.0,\"num_blocks\":10183,\"kv_tokens\":162928},\"real_memory\":null,\"metrics\":{\"request_throughput\":7.084779115239828,\"input_throughput\":453.42586337534897,\"output_throughput\":113.35646584383724,\"total_token_throughput\":566.7823292191863,\"ttft_mean\":0.0764241983967074,\"ttft_std\":0.01957718505488044,\"ttft_p50\":0.0902673587055573,\"ttft_p90\":0.0902673587055573,\"ttft_p95\":0.0902673587055573,\"ttft_p99\":0.0902673587055573,\"tpot_mean\":0.023636549957518193,\"tpot_std\":0.0001131874024348765,\"tpot_p50\":0.023716585537324787,\"tpot_p90\":0.023716585537324787,\"tpot_p95\":0.023716585537324787,\"tpot_p99\":0.023716585537324787,\"itl_mean\":0.023636549957518196,\"itl_std\":0.0002287139001335041,\"itl_p50\":0.02358654958641787,\"itl_p90\":0.023948355922352726,\"itl_p95\":0.023995185669908436,\"itl_p99\":0.024148825163023524,\"e2el_mean\":0.4309724477594803,\"e2el_std\":0.02127499609140359,\"e2el_p50\":0.4460161417654291,\"e2el_p90\":0.4460161417654291,\"e2el_p95\":0.4460161417654291,\"e2el_p99\":0.4460161417654291},\"repeat_values\":[112.87566155346053,113.83727013421395],\"stopped_at\":null,\"pace_errors\":[0.0,0.0],\"at_loads\":[],\"preemptions\":0,\"failed_requests\":0,\"start_s\":43.034776306152345,\"benchmark_s\":2.5835692036694864,\"failure\":null,\"disturbances\":[],\"rerun\":{\"of\":2,\"series\":\"0,1,2,3\",\"round\":0},\"host_speed\":1.0,\"provenance\":{\"planner_version\":\"0.1.0\",\"backend\":\"simulated\",\"simulated\":true,\"vllm_version\":\"0.8.5\",\"image\":\"vllm/vllm-openai:v0.8.5\",\"gpu\":\"RTX 2080 Ti 22GB\",\"workload_seed\":0,\"finished_at\":\"2026-11-30T12:32:51+00:00\",\"machine\":{\"driver\":null,\"image_digest\":null,\"lasting_image\":null,\"host\":null}}}"');
INSERT INTO "trial_user_attributes" VALUES(98,7,'settings','"layout=1xtp2 max_num_seqs=32 block_size=16"');
INSERT INTO "trial_user_attributes" VALUES(99,7,'outcome','"measured"');
INSERT INTO "trial_user_attributes" VALUES(100,7,'backend','"SIMULATED"');
INSERT INTO "trial_user_attributes" VALUES(101,7,'output_throughput_tokens_per_s','113.356');
INSERT INTO "trial_user_attributes" VALUES(102,7,'request_throughput_per_s','7.08478');
INSERT INTO "trial_user_attributes" VALUES(103,7,'ttft_p50_s','0.0902674');
INSERT INTO "trial_user_attributes" VALUES(104,7,'ttft_p95_s','0.0902674');
INSERT INTO "trial_user_attributes" VALUES(105,7,'tpot_p50_s','0.0237166');
INSERT INTO "trial_user_attributes" VALUES(106,7,'tpot_p95_s','0.0237166');
INSERT INTO "trial_user_attributes" VALUES(107,7,'predicted_output_throughput_tokens_per_s','97.7073');
INSERT INTO "trial_user_attributes" VALUES(108,7,'kv_cache_tokens','162928');
INSERT INTO "trial_user_attributes" VALUES(109,7,'start_s','43.0348');
INSERT INTO "trial_user_attributes" VALUES(110,7,'benchmark_s','2.58357');
INSERT INTO "trial_user_attributes" VALUES(111,7,'final_of','2');
INSERT INTO "trial_user_attributes" VALUES(112,8,'rerun','"{\"of\":3,\"series\":\"0,1,2,3\",\"round\":0}"');
INSERT INTO "trial_user_attributes" VALUES(113,8,'candidate','"{\"model\":\"small\",\"layout\":{\"instances\":1,\"tensor_parallel_size\":2,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":2,\"max_model_len\":4096,\"max_num_seqs\":8,\"block_size\":16},\"env\":[]}"');
INSERT INTO "trial_user_attributes" VALUES(114,8,'record','"{\"number\":7,\"candidate\":{\"model\":\"small\",\"layout\":{\"instances\":1,\"tensor_parallel_size\":2,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":2,\"max_model_len\":4096,\"max_num_seqs\":8,\"block_size\":16},\"env\":[]},\"outcome\":\"measured\",\"value\":114.32785093380588,\"constraints\":[{\"name\":\"requests complete\",\"excess\":-0.05,\"message\":\"0% of the requests failed\",\"kind\":\"slo\"}],\"predicted_value\":97.70733594629426,\"predicted_memory\":{\"total_bytes\":null,\"weight_bytes\":8202596352.0,\"non_torch_bytes\":214748364.8,\"activation_bytes\":327155712.0,\"graph_bytes\":118085045.7654566,\"kv_cache_bytes\":12012355584.0,\"num_blocks\":10183,\"kv_tokens\":162928},\"real_memory\":null,\"metrics\":{\"request_throughput\":7.145490683362867,\"input_throughput\":457.3114037352235,\"output_throughput\":114.32785093380588,\"total_token_throughput\":571.6392546690295,\"ttft_mean\":0.07492061427969174,\"ttft_std\":0.018796169982206075,\"ttft_p50\":0.08821151353444467,\"ttft_p90\":0.08821151353444467,\"ttft_p95\":0.08821151353444467,\"ttft_p99\":0.08821151353444467,\"tpot_mean\":0.02347837200157902,\"tpot_std\":0.00011239232056055984,\"tpot_p50\":0.02355784537360068,\"tpot_p90\":0.02355784537360068,\"tpot_p95\":0.02355784537360068,\"tpot_p99\":0.02355784537360068,\"itl_mean\":0.023478372001579012,\"itl_std\":0.00028109208491489297,\"itl_p50\":0.023501016950186637,\"itl_p90\":0.023779235417308475,\"itl_p95\":0.0239347440975079,\"itl_p99\":0.024049831698932267,\"e2el_mean\":0.427096194303377,\"e2el_std\":0.02048205479061448,\"e2el_p50\":0.44157919413845487,\"e2el_p90\":0.44157919413845487,\"e2el_p95\":0.44157919413845487,\"e2el_p99\":0.44157919413845487},\"repeat_values\":[114.87138164799264,113.78432021961913],\"stopped_at\":null,\"pace_errors\":[0.0,0.0],\"at_loads\":[],\"preemptions\":0,\"failed_requests\":0,\"start_s\":41.85352630615235,\"benchmark_s\":2.5708276026471557,\"failure\":null,\"disturbances\":[],\"rerun\":{\"of\":3,\"series\":\"0,1,2,3\",\"round\":0},\"host_speed\":1.0,\"provenance\":{\"planner_version\":\"0.1.0\",\"backend\":\"simulated\",\"simulated\":true,\"vllm_version\":\"0.8.5\",\"image\":\"vllm/vllm-openai:v0.8.5\",\"gpu\":\"RTX 2080 Ti 22GB\",\"workload_seed\":0,\"finished_at\":\"2026-11-30T12:32:52+00:00\",\"machine\":{\"driver\":null,\"image_digest\":null,\"lasting_image\":null,\"host\":null}}}"');
INSERT INTO "trial_user_attributes" VALUES(115,8,'settings','"layout=1xtp2 max_num_seqs=8 block_size=16"');
INSERT INTO "trial_user_attributes" VALUES(116,8,'outcome','"measured"');
INSERT INTO "trial_user_attributes" VALUES(117,8,'backend','"SIMULATED"');
INSERT INTO "trial_user_attributes" VALUES(118,8,'output_throughput_tokens_per_s','114.328');
INSERT INTO "trial_user_attributes" VALUES(119,8,'request_throughput_per_s','7.14549');
INSERT INTO "trial_user_attributes" VALUES(120,8,'ttft_p50_s','0.0882115');
INSERT INTO "trial_user_attributes" VALUES(121,8,'ttft_p95_s','0.0882115');
INSERT INTO "trial_user_attributes" VALUES(122,8,'tpot_p50_s','0.0235578');
INSERT INTO "trial_user_attributes" VALUES(123,8,'tpot_p95_s','0.0235578');
INSERT INTO "trial_user_attributes" VALUES(124,8,'predicted_output_throughput_tokens_per_s','97.7073');
INSERT INTO "trial_user_attributes" VALUES(125,8,'kv_cache_tokens','162928');
INSERT INTO "trial_user_attributes" VALUES(126,8,'start_s','41.8535');
INSERT INTO "trial_user_attributes" VALUES(127,8,'benchmark_s','2.57083');
INSERT INTO "trial_user_attributes" VALUES(128,8,'final_of','3');
INSERT INTO "trial_user_attributes" VALUES(129,9,'rerun','"{\"of\":3,\"series\":\"0,1,2,3\",\"round\":1}"');
INSERT INTO "trial_user_attributes" VALUES(130,9,'candidate','"{\"model\":\"small\",\"layout\":{\"instances\":1,\"tensor_parallel_size\":2,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":2,\"max_model_len\":4096,\"max_num_seqs\":8,\"block_size\":16},\"env\":[]}"');
INSERT INTO "trial_user_attributes" VALUES(131,9,'record','"{\"number\":8,\"candidate\":{\"model\":\"small\",\"layout\":{\"instances\":1,\"tensor_parallel_size\":2,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":2,\"max_model_len\":4096,\"max_num_seqs\":8,\"block_size\":16},\"env\":[]},\"outcome\":\"measured\",\"value\":116.26549203054239,\"constraints\":[{\"name\":\"requests complete\",\"excess\":-0.05,\"message\":\"0% of the requests failed\",\"kind\":\"slo\"}],\"predicted_value\":97.70733594629426,\"predicted_memory\":{\"total_bytes\":null,\"weight_bytes\":8202596352.0,\"non_torch_bytes\":214748364.8,\"activation_bytes\":327155712.0,\"graph_bytes\":118085045.7654566,\"kv_cache_bytes\":12012355584.0,\"num_blocks\":10183,\"kv_tokens\":162928},\"real_memory\":null,\"metrics\":{\"request_throughput\":7.266593251908899,\"input_throughput\":465.06196812216956,\"output_throughput\":116.26549203054239,\"total_token_throughput\":581.3274601527119,\"ttft_mean\":0.0742489251906503,\"ttft_std\":0.019125419950117087,\"ttft_p50\":0.08777263933041857,\"ttft_p90\":0.08777263933041857,\"ttft_p95\":0.08777263933041857,\"ttft_p99\":0.08777263933041857,\"tpot_mean\":0.023086883587883827,\"tpot_std\":0.00016633865082472753,\"tpot_p50\":0.023204502775855416,\"tpot_p90\":0.023204502775855416,\"tpot_p95\":0.023204502775855416,\"tpot_p99\":0.023204502775855416,\"itl_mean\":0.023086883587883827,\"itl_std\":0.0003146185639369343,\"itl_p50\":0.023105598234347047,\"itl_p90\":0.02339778349094157,\"itl_p95\":0.023532295518336466,\"itl_p99\":0.0236205189164001,\"e2el_mean\":0.42055217900890773,\"e2el_std\":0.021620499712487997,\"e2el_p50\":0.4358401809682498,\"e2el_p90\":0.4358401809682498,\"e2el_p95\":0.4358401809682498,\"e2el_p99\":0.4358401809682498},\"repeat_values\":[117.66666701667519,114.86431704440957],\"stopped_at\":null,\"pace_errors\":[0.0,0.0],\"at_loads\":[],\"preemptions\":0,\"failed_requests\":0,\"start_s\":41.85352630615235,\"benchmark_s\":2.52481034788717,\"failure\":null,\"disturbances\":[],\"rerun\":{\"of\":3,\"series\":\"0,1,2,3\",\"round\":1},\"host_speed\":1.0,\"provenance\":{\"planner_version\":\"0.1.0\",\"backend\":\"simulated\",\"simulated\":true,\"vllm_version\":\"0.8.5\",\"image\":\"vllm/vllm-openai:v0.8.5\",\"gpu\":\"RTX 2080 Ti 22GB\",\"workload_seed\":0,\"finished_at\":\"2026-11-30T12:32:53+00:00\",\"machine\":{\"driver\":null,\"image_digest\":null,\"lasting_image\":null,\"host\":null}}}"');
INSERT INTO "trial_user_attributes" VALUES(132,9,'settings','"layout=1xtp2 max_num_seqs=8 block_size=16"');
INSERT INTO "trial_user_attributes" VALUES(133,9,'outcome','"measured"');
INSERT INTO "trial_user_attributes" VALUES(134,9,'backend','"SIMULATED"');
INSERT INTO "trial_user_attributes" VALUES(135,9,'output_throughput_tokens_per_s','116.265');
INSERT INTO "trial_user_attributes" VALUES(136,9,'request_throughput_per_s','7.26659');
INSERT INTO "trial_user_attributes" VALUES(137,9,'ttft_p50_s','0.0877726');
INSERT INTO "trial_user_attributes" VALUES(138,9,'ttft_p95_s','0.0877726');
INSERT INTO "trial_user_attributes" VALUES(139,9,'tpot_p50_s','0.0232045');
INSERT INTO "trial_user_attributes" VALUES(140,9,'tpot_p95_s','0.0232045');
INSERT INTO "trial_user_attributes" VALUES(141,9,'predicted_output_throughput_tokens_per_s','97.7073');
INSERT INTO "trial_user_attributes" VALUES(142,9,'kv_cache_tokens','162928');
INSERT INTO "trial_user_attributes" VALUES(143,9,'start_s','41.8535');
INSERT INTO "trial_user_attributes" VALUES(144,9,'benchmark_s','2.52481');
INSERT INTO "trial_user_attributes" VALUES(145,9,'final_of','3');
INSERT INTO "trial_user_attributes" VALUES(146,10,'rerun','"{\"of\":2,\"series\":\"0,1,2,3\",\"round\":1}"');
INSERT INTO "trial_user_attributes" VALUES(147,10,'candidate','"{\"model\":\"small\",\"layout\":{\"instances\":1,\"tensor_parallel_size\":2,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":2,\"max_model_len\":4096,\"max_num_seqs\":32,\"block_size\":16},\"env\":[]}"');
INSERT INTO "trial_user_attributes" VALUES(148,10,'record','"{\"number\":9,\"candidate\":{\"model\":\"small\",\"layout\":{\"instances\":1,\"tensor_parallel_size\":2,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":2,\"max_model_len\":4096,\"max_num_seqs\":32,\"block_size\":16},\"env\":[]},\"outcome\":\"measured\",\"value\":113.74925946950982,\"constraints\":[{\"name\":\"requests complete\",\"excess\":-0.05,\"message\":\"0% of the requests failed\",\"kind\":\"slo\"}],\"predicted_value\":97.70733594629426,\"predicted_memory\":{\"total_bytes\":null,\"weight_bytes\":8202596352.0,\"non_torch_bytes\":214748364.8,\"activation_bytes\":327155712.0,\"graph_bytes\":207238654.08954906,\"kv_cache_bytes\":12012355584.0,\"num_blocks\":10183,\"kv_tokens\":162928},\"real_memory\":null,\"metrics\":{\"request_throughput\":7.109328716844364,\"input_throughput\":454.9970378780393,\"output_throughput\":113.74925946950982,\"total_token_throughput\":568.7462973475491,\"ttft_mean\":0.07581231480077266,\"ttft_std\":0.019741096440083046,\"ttft_p50\":0.089771377961613,\"ttft_p90\":0.089771377961613,\"ttft_p95\":0.089771377961613,\"ttft_p99\":0.089771377961613,\"tpot_mean\":0.02359442935525971,\"tpot_std\":0.0001448870467861463,\"tpot_p50\":0.023696879968548287,\"tpot_p90\":0.023696879968548287,\"tpot_p95\":0.023696879968548287,\"tpot_p99\":0.023696879968548287,\"itl_mean\":0.02359442935525971,\"itl_std\":0.0002388211188009815,\"itl_p50\":0.02363896929425846,\"itl_p90\":0.02388552180713399,\"itl_p95\":0.023929922655114955,\"itl_p99\":0.024100978024935715,\"e2el_mean\":0.4297287551296683,\"e2el_std\":0.021914402141875233,\"e2el_p50\":0.4452245774898373,\"e2el_p90\":0.4452245774898373,\"e2el_p95\":0.4452245774898373,\"e2el_p99\":0.4452245774898373},\"repeat_values\":[113.79715357697046,113.70136536204919],\"stopped_at\":null,\"pace_errors\":[0.0,0.0],\"at_loads\":[],\"preemptions\":0,\"failed_requests\":0,\"start_s\":43.034776306152345,\"benchmark_s\":2.5755479842653575,\"failure\":null,\"disturbances\":[],\"rerun\":{\"of\":2,\"series\":\"0,1,2,3\",\"round\":1},\"host_speed\":1.0,\"provenance\":{\"planner_version\":\"0.1.0\",\"backend\":\"simulated\",\"simulated\":true,\"vllm_version\":\"0.8.5\",\"image\":\"vllm/vllm-openai:v0.8.5\",\"gpu\":\"RTX 2080 Ti 22GB\",\"workload_seed\":0,\"finished_at\":\"2026-11-30T12:32:53+00:00\",\"machine\":{\"driver\":null,\"image_digest\":null,\"lasting_image\":null,\"host\":null}}}"');
INSERT INTO "trial_user_attributes" VALUES(149,10,'settings','"layout=1xtp2 max_num_seqs=32 block_size=16"');
INSERT INTO "trial_user_attributes" VALUES(150,10,'outcome','"measured"');
INSERT INTO "trial_user_attributes" VALUES(151,10,'backend','"SIMULATED"');
INSERT INTO "trial_user_attributes" VALUES(152,10,'output_throughput_tokens_per_s','113.749');
INSERT INTO "trial_user_attributes" VALUES(153,10,'request_throughput_per_s','7.10933');
INSERT INTO "trial_user_attributes" VALUES(154,10,'ttft_p50_s','0.0897714');
INSERT INTO "trial_user_attributes" VALUES(155,10,'ttft_p95_s','0.0897714');
INSERT INTO "trial_user_attributes" VALUES(156,10,'tpot_p50_s','0.0236969');
INSERT INTO "trial_user_attributes" VALUES(157,10,'tpot_p95_s','0.0236969');
INSERT INTO "trial_user_attributes" VALUES(158,10,'predicted_output_throughput_tokens_per_s','97.7073');
INSERT INTO "trial_user_attributes" VALUES(159,10,'kv_cache_tokens','162928');
INSERT INTO "trial_user_attributes" VALUES(160,10,'start_s','43.0348');
INSERT INTO "trial_user_attributes" VALUES(161,10,'benchmark_s','2.57555');
INSERT INTO "trial_user_attributes" VALUES(162,10,'final_of','2');
INSERT INTO "trial_user_attributes" VALUES(163,11,'rerun','"{\"of\":1,\"series\":\"0,1,2,3\",\"round\":1}"');
INSERT INTO "trial_user_attributes" VALUES(164,11,'candidate','"{\"model\":\"small\",\"layout\":{\"instances\":1,\"tensor_parallel_size\":2,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":2,\"max_model_len\":4096,\"max_num_seqs\":8,\"block_size\":32},\"env\":[]}"');
INSERT INTO "trial_user_attributes" VALUES(165,11,'record','"{\"number\":10,\"candidate\":{\"model\":\"small\",\"layout\":{\"instances\":1,\"tensor_parallel_size\":2,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":2,\"max_model_len\":4096,\"max_num_seqs\":8,\"block_size\":32},\"env\":[]},\"outcome\":\"measured\",\"value\":115.03608598970882,\"constraints\":[{\"name\":\"requests complete\",\"excess\":-0.05,\"message\":\"0% of the requests failed\",\"kind\":\"slo\"}],\"predicted_value\":97.70733594629426,\"predicted_memory\":{\"total_bytes\":null,\"weight_bytes\":8202596352.0,\"non_torch_bytes\":214748364.8,\"activation_bytes\":327155712.0,\"graph_bytes\":118085045.7654566,\"kv_cache_bytes\":12011175936.0,\"num_blocks\":5091,\"kv_tokens\":162912},\"real_memory\":null,\"metrics\":{\"request_throughput\":7.1897553743568015,\"input_throughput\":460.1443439588353,\"output_throughput\":115.03608598970882,\"total_token_throughput\":575.1804299485441,\"ttft_mean\":0.07497586836090886,\"ttft_std\":0.01921711334834872,\"ttft_p50\":0.08856441952435676,\"ttft_p90\":0.08856441952435676,\"ttft_p95\":0.08856441952435676,\"ttft_p99\":0.08856441952435676,\"tpot_mean\":0.023316475544919328,\"tpot_std\":0.00011880704496541365,\"tpot_p50\":0.023400484812067107,\"tpot_p90\":0.023400484812067107,\"tpot_p95\":0.023400484812067107,\"tpot_p99\":0.023400484812067107,\"itl_mean\":0.023316475544919335,\"itl_std\":0.00023510006935022234,\"itl_p50\":0.023312207009520247,\"itl_p90\":0.023616125637558716,\"itl_p95\":0.02367209041244761,\"itl_p99\":0.023798726030915374,\"e2el_mean\":0.4247230015346988,\"e2el_std\":0.020999219022829918,\"e2el_p50\":0.43957169170536337,\"e2el_p90\":0.43957169170536337,\"e2el_p95\":0.43957169170536337,\"e2el_p99\":0.43957169170536337},\"repeat_values\":[116.13793847953359,113.93423349988404],\"stopped_at\":null,\"pace_errors\":[0.0,0.0],\"at_loads\":[],\"preemptions\":0,\"failed_requests\":0,\"start_s\":41.85352630615235,\"benchmark_s\":2.5486489311663116,\"failure\":null,\"disturbances\":[],\"rerun\":{\"of\":1,\"series\":\"0,1,2,3\",\"round\":1},\"host_speed\":1.0,\"provenance\":{\"planner_version\":\"0.1.0\",\"backend\":\"simulated\",\"simulated\":true,\"vllm_version\":\"0.8.5\",\"image\":\"vllm/vllm-openai:v0.8.5\",\"gpu\":\"RTX 2080 Ti 22GB\",\"workload_seed\":0,\"finished_at\":\"2026-11-30T12:32:54+00:00\",\"machine\":{\"driver\":null,\"image_digest\":null,\"lasting_image\":null,\"host\":null}}}"');
INSERT INTO "trial_user_attributes" VALUES(166,11,'settings','"layout=1xtp2 max_num_seqs=8 block_size=32"');
INSERT INTO "trial_user_attributes" VALUES(167,11,'outcome','"measured"');
INSERT INTO "trial_user_attributes" VALUES(168,11,'backend','"SIMULATED"');
INSERT INTO "trial_user_attributes" VALUES(169,11,'output_throughput_tokens_per_s','115.036');
INSERT INTO "trial_user_attributes" VALUES(170,11,'request_throughput_per_s','7.18976');
INSERT INTO "trial_user_attributes" VALUES(171,11,'ttft_p50_s','0.0885644');
INSERT INTO "trial_user_attributes" VALUES(172,11,'ttft_p95_s','0.0885644');
INSERT INTO "trial_user_attributes" VALUES(173,11,'tpot_p50_s','0.0234005');
INSERT INTO "trial_user_attributes" VALUES(174,11,'tpot_p95_s','0.0234005');
INSERT INTO "trial_user_attributes" VALUES(175,11,'predicted_output_throughput_tokens_per_s','97.7073');
INSERT INTO "trial_user_attributes" VALUES(176,11,'kv_cache_tokens','162912');
INSERT INTO "trial_user_attributes" VALUES(177,11,'start_s','41.8535');
INSERT INTO "trial_user_attributes" VALUES(178,11,'benchmark_s','2.54865');
INSERT INTO "trial_user_attributes" VALUES(179,11,'final_of','1');
INSERT INTO "trial_user_attributes" VALUES(180,12,'rerun','"{\"of\":0,\"series\":\"0,1,2,3\",\"round\":1}"');
INSERT INTO "trial_user_attributes" VALUES(181,12,'candidate','"{\"model\":\"small\",\"layout\":{\"instances\":2,\"tensor_parallel_size\":1,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":1,\"max_model_len\":4096},\"env\":[]}"');
INSERT INTO "trial_user_attributes" VALUES(182,12,'record','"{\"number\":11,\"candidate\":{\"model\":\"small\",\"layout\":{\"instances\":2,\"tensor_parallel_size\":1,\"pipeline_parallel_size\":1},\"engine\":{\"dtype\":\"half\",\"tensor_parallel_size\":1,\"max_model_len\":4096},\"env\":[]},\"outcome\":\"measured\",\"value\":82.04037034958438,\"constraints\":[{\"name\":\"requests complete\",\"excess\":-0.05,\"message\":\"0% of the requests failed\",\"kind\":\"slo\"}],\"predicted_value\":75.78419787435129,\"predicted_memory\":{\"total_bytes\":null,\"weight_bytes\":16394072064.0,\"non_torch_bytes\":53687091.2,\"activation_bytes\":1519976448.0,\"graph_bytes\":281018368.0,\"kv_cache_bytes\":2788687872.0,\"num_blocks\":1182,\"kv_tokens\":18912},\"real_memory\":null,\"metrics\":{\"request_throughput\":5.127523146849024,\"input_throughput\":328.1614813983375,\"output_throughput\":82.04037034958438,\"total_token_throughput\":410.2018517479219,\"ttft_mean\":0.06221637404215099,\"ttft_std\":0.0004374017613493532,\"ttft_p50\":0.062467774299519885,\"ttft_p90\":0.06257969119185208,\"ttft_p95\":0.06257969119185208,\"ttft_p99\":0.06257969119185208,\"tpot_mean\":0.035006464900179,\"tpot_std\":0.00022120437402287077,\"tpot_p50\":0.035000478246124046,\"tpot_p90\":0.035280315780108124,\"tpot_p95\":0.035280315780108124,\"tpot_p99\":0.035280315780108124,\"itl_mean\":0.035006464900179,\"itl_std\":0.0003746565475382397,\"itl_p50\":0.03504124003938719,\"itl_p90\":0.0354844669912292,\"itl_p95\":0.035572929607385895,\"itl_p99\":0.03596172017872229,\"e2el_mean\":0.587313347544836,\"e2el_std\":0.0037184192422811445,\"e2el_p50\":0.5874749479913806,\"e2el_p90\":0.5917844278934739,\"e2el_p95\":0.5917844278934739,\"e2el_p99\":0.5917844278934739},\"repeat_values\":[82.04037034958438,82.04037034958438],\"stopped_at\":null,\"pace_errors\":[0.0,0.0],\"at_loads\":[],\"preemptions\":0,\"failed_requests\":0,\"start_s\":69.31758880615234,\"benchmark_s\":3.5224722856694806,\"failure\":null,\"disturbances\":[],\"rerun\":{\"of\":0,\"series\":\"0,1,2,3\",\"round\":1},\"host_speed\":1.0,\"provenance\":{\"planner_version\":\"0.1.0\",\"backend\":\"simulated\",\"simulated\":true,\"vllm_version\":\"0.8.5\",\"image\":\"vllm/vllm-openai:v0.8.5\",\"gpu\":\"RTX 2080 Ti 22GB\",\"workload_seed\":0,\"finished_at\":\"2026-11-30T12:32:55+00:00\",\"machine\":{\"driver\":null,\"image_digest\":null,\"lasting_image\":null,\"host\":null}}}"');
INSERT INTO "trial_user_attributes" VALUES(183,12,'settings','"engine defaults layout=2xtp1"');
INSERT INTO "trial_user_attributes" VALUES(184,12,'outcome','"measured"');
INSERT INTO "trial_user_attributes" VALUES(185,12,'backend','"SIMULATED"');
INSERT INTO "trial_user_attributes" VALUES(186,12,'output_throughput_tokens_per_s','82.0404');
INSERT INTO "trial_user_attributes" VALUES(187,12,'request_throughput_per_s','5.12752');
INSERT INTO "trial_user_attributes" VALUES(188,12,'ttft_p50_s','0.0624678');
INSERT INTO "trial_user_attributes" VALUES(189,12,'ttft_p95_s','0.0625797');
INSERT INTO "trial_user_attributes" VALUES(190,12,'tpot_p50_s','0.0350005');
INSERT INTO "trial_user_attributes" VALUES(191,12,'tpot_p95_s','0.0352803');
INSERT INTO "trial_user_attributes" VALUES(192,12,'predicted_output_throughput_tokens_per_s','75.7842');
INSERT INTO "trial_user_attributes" VALUES(193,12,'kv_cache_tokens','18912');
INSERT INTO "trial_user_attributes" VALUES(194,12,'start_s','69.3176');
INSERT INTO "trial_user_attributes" VALUES(195,12,'benchmark_s','3.52247');
INSERT INTO "trial_user_attributes" VALUES(196,12,'final_of','0');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,8.09918330917428193078e+01,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,1.1692558872817104998e+02,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,1.16269942535689850158e+02,'FINITE');
INSERT INTO "trial_values" VALUES(4,4,0,1.14157446708773051117e+02,'FINITE');
INSERT INTO "trial_values" VALUES(5,5,0,8.12888289077160095495e+01,'FINITE');
INSERT INTO "trial_values" VALUES(6,6,0,1.13476225153297662019e+02,'FINITE');
INSERT INTO "trial_values" VALUES(7,7,0,1.13356465843837241893e+02,'FINITE');
INSERT INTO "trial_values" VALUES(8,8,0,1.14327850933805876822e+02,'FINITE');
INSERT INTO "trial_values" VALUES(9,9,0,1.16265492030542390007e+02,'FINITE');
INSERT INTO "trial_values" VALUES(10,10,0,1.13749259469509823362e+02,'FINITE');
INSERT INTO "trial_values" VALUES(11,11,0,1.15036085989708823261e+02,'FINITE');
INSERT INTO "trial_values" VALUES(12,12,0,8.20403703495843785765e+01,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-30 12:32:44.251400','2026-11-30 12:32:45.412252');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-30 12:32:45.709529','2026-11-30 12:32:46.389307');
INSERT INTO "trials" VALUES(3,2,1,'COMPLETE','2026-11-30 12:32:46.591615','2026-11-30 12:32:48.239640');
INSERT INTO "trials" VALUES(4,3,1,'COMPLETE','2026-11-30 12:32:48.283667','2026-11-30 12:32:49.419315');
INSERT INTO "trials" VALUES(5,4,1,'COMPLETE','2026-11-30 12:32:49.535970','2026-11-30 12:32:50.407651');
INSERT INTO "trials" VALUES(6,5,1,'COMPLETE','2026-11-30 12:32:50.544002','2026-11-30 12:32:51.399192');
INSERT INTO "trials" VALUES(7,6,1,'COMPLETE','2026-11-30 12:32:51.559605','2026-11-30 12:32:52.349108');
INSERT INTO "trials" VALUES(8,7,1,'COMPLETE','2026-11-30 12:32:52.488004','2026-11-30 12:32:53.057403');
INSERT INTO "trials" VALUES(9,8,1,'COMPLETE','2026-11-30 12:32:53.138318','2026-11-30 12:32:53.549580');
INSERT INTO "trials" VALUES(10,9,1,'COMPLETE','2026-11-30 12:32:53.595237','2026-11-30 12:32:53.827933');
INSERT INTO "trials" VALUES(11,10,1,'COMPLETE','2026-11-30 12:32:53.957148','2026-11-30 12:32:54.991670');
INSERT INTO "trials" VALUES(12,11,1,'COMPLETE','2026-11-30 12:32:55.193217','2026-11-30 12:32:55.794254');
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
