defmodule DSPex.FacadeTest do
  # The names that earlier versions of DSPex had.
  use ExUnit.Case, async: true

  alias DSPex.Test.OpenAI

  @moduletag req: ["NFR4.1.1", "BC2"]

  test "signatures are parsed, compiled and checked" do
    assert {:ok, signature} = DSPex.signature("question -> answer: int")
    assert DSPex.compile_signature("question -> answer: int") == {:ok, signature}
    assert DSPex.validate(%{answer: "4"}, signature) == {:ok, %{"answer" => 4}}
    assert {:error, %DSPex.Error{reason: :invalid_input}} = DSPex.validate(%{answer: "x"}, "question -> answer: int")
    assert {:error, %DSPex.SignatureError{}} = DSPex.validate(%{}, "question - answer")
  end

  test "templates are rendered, pipelines built and run" do
    assert DSPex.render_template("Hello {{name}}", %{name: "Ada"}) == {:ok, "Hello Ada"}
    assert {:ok, pipeline} = DSPex.pipeline([{:native, :template, template: "{{a}}!", as: "b"}])
    assert {:ok, result} = DSPex.run_pipeline(pipeline, %{a: "x"})
    assert result["b"] == "x!"
  end

  test "an LM is asked with a text or with messages" do
    url = OpenAI.start()
    assert {:ok, lm} = DSPex.lm_client(model: "openai/any", base_url: url, api_key_env: nil)
    OpenAI.push(url, [%{"text" => "one"}, %{"text" => "two"}])
    assert DSPex.lm_generate(lm, "Count") == {:ok, "one"}
    assert DSPex.lm_generate(lm, [%{"role" => "user", "content" => "Go on"}]) == {:ok, "two"}
    assert {:error, %DSPex.Error{reason: :invalid_input}} = DSPex.lm_client([])
  end

  test "without an instance the health check says what to add" do
    assert {:error, %DSPex.Error{reason: :unavailable, message: message}} = DSPex.health_check(__MODULE__.Absent)
    assert message =~ "supervision tree"
  end
end
