defmodule DSPex.Native.JsonTextTest do
  use ExUnit.Case, async: true

  alias DSPex.Native.Adapter.JsonText

  @tag req: ["FR3.2.1", "OWN-7"]
  test "values that JSON lacks are written as pydantic writes them" do
    for {value, json} <- [
          {[:nan, 1.0, {[{"a", :infinity}]}], "[null, 1.0, {\"a\": null}]"},
          {:nan, "NaN"},
          {:neg_infinity, "-Infinity"},
          {{:tuple, [1, {:set, [2]}]}, "[1, [2]]"},
          {{:datetime, "2024-01-02T03:04:05+00:00"}, "\"2024-01-02T03:04:05Z\""},
          {{:date, "2024-01-02"}, "\"2024-01-02\""},
          {{:enum, "Colour", "RED", "red"}, "\"red\""},
          {{:model, "Point", [{"x", {:decimal, "1.5"}}]}, "{\"x\": \"1.5\"}"},
          {{:bytes, "ab"}, "\"ab\""},
          {{:dspy, "Code", [{"code", "x\t=\u0001 1"}]}, "\"x\\t=\\u0001 1\""},
          {{:dspy, "Reasoning", [{"content", "\b\f\r\n\"\\"}]}, "\"\\b\\f\\r\\n\\\"\\\\\""},
          {{:dspy, "History", [{"messages", []}]}, "{\"messages\": []}"},
          {{:dspy, "ToolCall", [{"id", "c1"}, {"name", "f"}, {"args", {[{"x", 1}]}}]},
           "{\"name\": \"f\", \"args\": {\"x\": 1}}"}
        ] do
      assert {value, value |> JsonText.jsonable() |> JsonText.dumps()} == {value, json}
    end
  end

  @tag req: "FR3.2.1"
  test "content parts stand between marks" do
    {start, stop} = JsonText.marks()

    for {value, part} <- [
          {{:dspy, "Image", [{"url", "https://e.example/a"}]},
           ~S([{"type": "image_url", "image_url": {"url": "https://e.example/a"}}])},
          {{:dspy, "Audio", [{"data", "AA=="}, {"audio_format", "wav"}]},
           ~S([{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}])},
          {{:dspy, "File", [{"file_data", nil}, {"file_id", "f"}, {"filename", nil}]},
           ~S([{"type": "file", "file": {"file_id": "f"}}])}
        ],
        do: assert(JsonText.jsonable(value) == start <> part <> stop)
  end

  @tag req: "FR3.2.1"
  test "indented JSON is Python's" do
    assert JsonText.dumps_indented({[{"a", [1, {[]}]}, {1, []}]}) ==
             "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"1\": []\n}"
  end
end
