defmodule DSPex.Docs.SnippetsTest do
  @moduledoc "Every fenced `elixir` block of the README and the guides runs; the blocks of one page share their names."
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  @root Path.expand("../../..", __DIR__)

  # Sessions of a page belong neither among the user's own nor to the next run.
  setup_all do
    before = System.get_env("XDG_STATE_HOME")
    state = Path.join(System.tmp_dir!(), "dspex-pages-#{System.os_time()}")
    System.put_env("XDG_STATE_HOME", state)

    on_exit(fn ->
      File.rm_rf!(state)
      if before, do: System.put_env("XDG_STATE_HOME", before), else: System.delete_env("XDG_STATE_HOME")
    end)
  end

  for page <- [Path.join(@root, "README.md") | Path.wildcard(Path.join(@root, "docs/*.md"))],
      blocks = Regex.scan(~r/^```elixir\n(.*?)^```$/ms, File.read!(page), capture: :all_but_first),
      blocks != [] do
    @external_resource page
    @tag req: "NFR4.1.2", timeout: 120_000
    test "the Elixir of #{Path.basename(page)} runs" do
      blocks = unquote(List.flatten(blocks))

      shown =
        capture_io(fn ->
          Enum.reduce(blocks, [], fn code, bindings ->
            {_value, bindings} = Code.eval_string(code, bindings, file: unquote(page))
            bindings
          end)
        end)

      for expected <- shown_by(blocks), do: assert(shown =~ expected)
    end
  end

  # A line `#> text` says what the snippet prints.
  defp shown_by(blocks) do
    for block <- blocks, [text] <- Regex.scan(~r/^\s*#> (.+)$/m, block, capture: :all_but_first), do: text
  end
end
