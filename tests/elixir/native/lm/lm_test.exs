defmodule DSPex.Native.LMTest do
  # The native client against the OpenAI-compatible server of python_bridge.testing, over a real socket.
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Native.LM
  alias DSPex.Test.OpenAI

  doctest DSPex.Native.LM
  doctest DSPex.Native.LM.Sse

  @moduletag req: ["OWN-5", "NFR2.1.2"]
  @messages [%{"role" => "user", "content" => "Hello"}]

  setup do
    base_url = OpenAI.start()
    {:ok, url: base_url, lm: LM.new("openai/test", base_url: base_url, api_key_env: nil, retries: 0)}
  end

  defp pieces do
    test = self()
    fn text -> send(test, {:text, text}) end
  end

  defp received do
    receive do
      {:text, text} -> text <> received()
    after
      0 -> ""
    end
  end

  test "an answer comes with its usage, and the request is what was asked", %{url: url, lm: lm} do
    OpenAI.push(url, [%{"text" => "Hi — Grüße", "usage" => [3, 2]}])

    assert {:ok, completion} =
             LM.chat(lm, @messages, params: %{temperature: 0.5}, response_format: %{"type" => "json_object"})

    assert {completion.text, completion.finish_reason} == {"Hi — Grüße", "stop"}
    assert completion.usage == %{"prompt_tokens" => 3, "completion_tokens" => 2, "total_tokens" => 5}
    {200, %{"requests" => [%{"body" => body}]}} = OpenAI.await(url, "requests=1")

    assert body == %{
             "model" => "test",
             "messages" => @messages,
             "temperature" => 0.5,
             "response_format" => %{"type" => "json_object"}
           }
  end

  test "a streamed answer arrives in pieces, and whole at the end", %{url: url, lm: lm} do
    OpenAI.push(url, [%{"text" => "one two three four five", "usage" => [3, 5]}])
    assert {:ok, completion} = LM.chat(lm, @messages, on_text: pieces())
    assert completion.text == "one two three four five"
    assert completion.usage["completion_tokens"] == 5
    assert received() == completion.text
  end

  @tag req: ["NFR2.2.1", "NFR2.2.2"]
  test "a refusal is lm_error with status, and says whether it may pass", %{url: url, lm: lm} do
    for {status, retryable?} <- [{400, false}, {401, false}, {404, false}, {429, true}, {500, true}, {503, true}] do
      OpenAI.push(url, [%{"status" => status}])
      assert {:error, %Error{reason: :lm_error} = error} = LM.chat(lm, @messages)
      assert {error.details["status"], error.retryable?} == {status, retryable?}
      assert error.message =~ "status #{status}"
    end
  end

  test "what may pass is tried again, after the time that the server names", %{url: url, lm: lm} do
    OpenAI.push(url, [
      %{"status" => 429, "retry_after" => 0.01},
      %{"status" => 503, "retry_after" => 0.01},
      %{"text" => "ok"}
    ])

    assert {:ok, %{text: "ok"}} = LM.chat(%{lm | retries: 2}, @messages)
  end

  test "a wait that the deadline does not allow is not begun: the caller is told how long", %{url: url, lm: lm} do
    OpenAI.push(url, [%{"status" => 429, "retry_after" => 30}])
    assert {:error, %Error{retry_after: 30.0}} = LM.chat(%{lm | retries: 5}, @messages, timeout: 5_000)
  end

  @tag req: "OWN-1"
  test "a stalled server is a timeout, and its connection is dropped", %{url: url, lm: lm} do
    for behaviour <- [%{"stall" => true}, %{"stall_after" => 1, "text" => "a b c d"}] do
      OpenAI.push(url, [behaviour])
      on_text = if behaviour["stall_after"], do: pieces()
      assert {:error, %Error{reason: :timeout}} = LM.chat(%{lm | timeout: 300}, @messages, on_text: on_text)
    end

    assert {200, %{"disconnects" => 2}} = OpenAI.await(url, "disconnects=2")
  end

  @tag req: "OWN-1"
  test "when the caller dies, the server sees the connection go", %{url: url, lm: lm} do
    OpenAI.push(url, [%{"endless" => true, "pace" => 0.01, "text" => "on and on"}])
    test = self()
    {:ok, caller} = Task.start(fn -> LM.chat(lm, @messages, on_text: &send(test, {:text, &1})) end)
    assert_receive {:text, _text}, 30_000
    Process.exit(caller, :kill)
    assert {200, %{"disconnects" => 1}} = OpenAI.await(url, "disconnects=1")
  end

  test "answers that are cut, broken or no answers at all are lm_error, and the next request works", %{url: url, lm: lm} do
    cut = [
      {%{"disconnect" => true}, nil},
      {%{"truncate" => 20, "text" => "a long enough answer"}, nil},
      {%{"cut_after" => 1, "text" => "a b c d e"}, :stream},
      {%{"cut_after" => 1, "half_event" => true, "text" => "a b c d e"}, :stream}
    ]

    for {behaviour, mode} <- cut do
      OpenAI.push(url, [behaviour])
      assert {:error, %Error{reason: :lm_error}} = LM.chat(lm, @messages, on_text: mode && pieces())
      OpenAI.push(url, [%{"text" => "fine"}])
      assert {:ok, %{text: "fine"}} = LM.chat(lm, @messages)
    end
  end

  test "an answer larger than its limit is given up", %{url: url, lm: lm} do
    OpenAI.push(url, [%{"text" => String.duplicate("word ", 10_000)}])
    assert {:error, %Error{reason: :limit_exceeded}} = LM.chat(%{lm | max_bytes: 1_000}, @messages)
  end

  test "nobody listening, and a missing key, are told as what they are", %{lm: lm} do
    assert {:error, %Error{reason: :lm_error, message: message}} =
             LM.chat(%{lm | base_url: "http://127.0.0.1:1/v1"}, @messages)

    assert message =~ "econnrefused"
    assert {:error, %Error{message: message}} = LM.chat(%{lm | api_key_env: "DSPEX_NO_SUCH_KEY"}, @messages)
    assert message =~ "needs the environment variable DSPEX_NO_SUCH_KEY"
  end

  @tag req: "NFR4.1.1"
  test "a key with the end of its line is taken without it, and one that would begin a header is refused", %{lm: lm} do
    lm = %{lm | api_key_env: "DSPEX_KEY_FROM_A_FILE"}
    on_exit(fn -> System.delete_env("DSPEX_KEY_FROM_A_FILE") end)
    System.put_env("DSPEX_KEY_FROM_A_FILE", "sk-test\n")
    assert {:ok, _completion} = LM.chat(lm, @messages)

    for value <- ["sk-secret\r\nx: y", "sk-secret two", "sk-sécret"] do
      System.put_env("DSPEX_KEY_FROM_A_FILE", value)
      assert {:error, %Error{reason: :lm_error, retryable?: false, message: message}} = LM.chat(lm, @messages)
      assert message =~ "DSPEX_KEY_FROM_A_FILE"
      refute message =~ "cret"
    end
  end

  @tag req: "NFR4.1.1"
  test "a key that the server repeats is in no error", %{url: url, lm: lm} do
    key = "unusual.test/key=secret"
    on_exit(fn -> System.delete_env("DSPEX_REPEATED_KEY") end)
    System.put_env("DSPEX_REPEATED_KEY", key)
    long = String.duplicate("x", 490)

    for text <- ["the key #{key} was refused", long <> key] do
      OpenAI.push(url, [%{"status" => 401, "error" => %{"message" => text, "code" => key}}])
      assert {:error, error} = LM.chat(%{lm | api_key_env: "DSPEX_REPEATED_KEY"}, @messages)
      assert error.message =~ "look at the key in DSPEX_REPEATED_KEY"
      refute inspect(error, structs: false, limit: :infinity, printable_limit: :infinity) =~ "unusual"
    end
  end

  test "a parameter that is not known is refused by name" do
    assert_raise ArgumentError, ~r/temprature is no parameter/, fn -> LM.new("openai/x", params: %{temprature: 1}) end
  end
end
